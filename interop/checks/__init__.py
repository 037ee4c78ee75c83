"""The checks: each module has a list ROWS."""


class Row:
    """One line of the table.

    name     of the check; `--only` takes it or its beginning
    tier     "quick" or "full"
    peer     what it proves us against, and its `version` (a text, or a function that looks)
    what     it proves, in a few words
    needs    installers to be called first (each returns something of its own; Missing skips the row)
    cached   tells whether the slow peers are in the cache already: the row then joins the quick tier
    run      the check: run(context) returns a short detail, raises Failure
    limit    seconds that `run` may take
    """

    def __init__(self, name, tier, peer, version, what, run, needs=(), cached=None, limit=None, order=50):
        self.name = name
        self.tier = tier
        self.peer = peer
        self.version = version
        self.what = what
        self.run = run
        self.needs = list(needs)
        self.cached = cached
        self.limit = limit
        self.order = order
