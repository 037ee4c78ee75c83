# libsightline-llama.so: what is loaded into foreign processes. Its exported names, and the libc functions that the code
# inside it calls without meeting the hooks, are read from the one table src/probe/host/hooks.def.
set(SL_HOOKS ${CMAKE_SOURCE_DIR}/src/probe/host/hooks.def)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${SL_HOOKS})
file(STRINGS ${SL_HOOKS} SL_HOOK_ROWS REGEX "^SL_HOOK\\(")
set(SL_HOOK_NAMES "dlsym;dlvsym")
set(SL_HOOK_WRAPS)
foreach(row ${SL_HOOK_ROWS})
  string(REGEX REPLACE "^SL_HOOK\\(([A-Za-z0-9_]+), *([A-Z]+)\\).*" "\\1;\\2" row "${row}")
  list(GET row 0 name)
  list(GET row 1 kind)
  list(APPEND SL_HOOK_NAMES ${name})
  if(kind STREQUAL "LIBC")
    list(APPEND SL_HOOK_WRAPS "LINKER:--wrap=${name}")
  endif()
endforeach()
list(JOIN SL_HOOK_NAMES ";\n    " SL_HOOK_LIST)
set(SL_HOOK_SCRIPT ${CMAKE_BINARY_DIR}/probe_host.map)
file(CONFIGURE OUTPUT ${SL_HOOK_SCRIPT} CONTENT "{\n  global:\n    @SL_HOOK_LIST@;\n  local: *;\n};\n" @ONLY)

# A library of this name out of these flags and objects.
function(sl_probe_library name flags)
  add_library(${name} SHARED ${SL_PROBE_HOST_SOURCES} ${ARGN} src/telemetry/core_only/no_export.c)
  set_target_properties(${name} PROPERTIES C_STANDARD 11 C_EXTENSIONS OFF LINK_DEPENDS "${SL_HOOK_SCRIPT};${SL_HOOKS}")
  # Exceptions of the host pass through the hooks; recording is on the host's time, whatever the build type.
  target_compile_options(${name} PRIVATE -fasynchronous-unwind-tables -fno-stack-protector -O3)
  target_link_libraries(${name} PRIVATE ${flags} Threads::Threads m)
  target_link_options(${name} PRIVATE LINKER:--version-script=${SL_HOOK_SCRIPT} LINKER:-z,defs LINKER:-z,relro
    LINKER:--as-needed ${SL_HOOK_WRAPS})
endfunction()

if(NOT SL_SANITIZE)
  sl_probe_library(sightline-llama sl_flags $<TARGET_OBJECTS:sl_probe> $<TARGET_OBJECTS:sl_core>)
else()
  # The library for programs of all kinds has no sanitizer; the other one is for hosts that have the same themselves.
  add_library(sl_plain_core OBJECT ${SL_CORE_SOURCES} ${SL_PROBE_SOURCES})
  set_target_properties(sl_plain_core PROPERTIES C_STANDARD 11 C_EXTENSIONS OFF)
  target_link_libraries(sl_plain_core PRIVATE sl_plain_flags)
  sl_probe_library(sightline-llama sl_plain_flags $<TARGET_OBJECTS:sl_plain_core>)
  sl_probe_library(sightline-llama-sanitized sl_flags $<TARGET_OBJECTS:sl_probe> $<TARGET_OBJECTS:sl_core>)
  # What answers dlsym() answers the sanitizer as well, before it has set itself up.
  set(SL_HOOK_EARLY ${SL_PROBE_HOST_SOURCES})
  list(FILTER SL_HOOK_EARLY INCLUDE REGEX "/(dlsym|elf_view|real|stubs)\\.c$")
  set_source_files_properties(${SL_HOOK_EARLY} PROPERTIES COMPILE_OPTIONS -fno-sanitize=all)
endif()
