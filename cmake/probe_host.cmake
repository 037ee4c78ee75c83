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

add_library(sightline-llama SHARED ${SL_PROBE_HOST_SOURCES} $<TARGET_OBJECTS:sl_probe> $<TARGET_OBJECTS:sl_core>
  src/telemetry/core_only/no_export.c)
set_target_properties(sightline-llama PROPERTIES C_STANDARD 11 C_EXTENSIONS OFF LINK_DEPENDS "${SL_HOOK_SCRIPT};${SL_HOOKS}")
# Exceptions of the host pass through the hooks; recording is on the host's time, whatever the build type.
target_compile_options(sightline-llama PRIVATE -fasynchronous-unwind-tables -fno-stack-protector -O3)
target_link_libraries(sightline-llama PRIVATE sl_flags Threads::Threads m)
target_link_options(sightline-llama PRIVATE LINKER:--version-script=${SL_HOOK_SCRIPT} LINKER:-z,defs LINKER:-z,relro
  LINKER:--as-needed ${SL_HOOK_WRAPS})
