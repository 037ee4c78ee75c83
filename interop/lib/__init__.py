"""What every peer and every check of `make interop` shares."""
