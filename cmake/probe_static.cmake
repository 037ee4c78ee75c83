# libsightline-llama-hook.a: the probe for programs that llama.cpp is linked into. The hooks are those of the object that
# is loaded; entries and look-up are of src/probe/host/static. One object in which nothing but the entries is visible,
# and whose own calls of hooked functions never meet the hooks: a program's names cannot clash with ours.
# libsightline-llama-hook.options: what the linker needs to be told (deploy/llama.cpp/llama-otel.cmake).
file(GLOB SL_HOOK_STATIC_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/probe/host/static/*.c)
list(FILTER SL_HOOK_STATIC_SOURCES EXCLUDE REGEX "/absent\\.c$")
add_library(sl_hook_absent OBJECT ${CMAKE_SOURCE_DIR}/src/probe/host/static/absent.c)
set_target_properties(sl_hook_absent PROPERTIES C_STANDARD 11 C_EXTENSIONS OFF)
target_link_libraries(sl_hook_absent PRIVATE sl_flags)
set(SL_HOOK_SHARED_SOURCES ${SL_PROBE_HOST_SOURCES})
list(FILTER SL_HOOK_SHARED_SOURCES EXCLUDE REGEX "/(stubs|real|dlsym|elf_view)\\.c$")
add_library(sl_hook_objects OBJECT ${SL_HOOK_SHARED_SOURCES} ${SL_HOOK_STATIC_SOURCES} src/telemetry/core_only/no_export.c)
set_target_properties(sl_hook_objects PROPERTIES C_STANDARD 11 C_EXTENSIONS OFF)
target_compile_options(sl_hook_objects PRIVATE -fexceptions -O3)
target_link_libraries(sl_hook_objects PRIVATE sl_flags)

set(SL_HOOK_RENAMES)
set(SL_HOOK_OPTIONS)
foreach(row ${SL_HOOK_ROWS})
  string(REGEX REPLACE "^SL_HOOK\\(([A-Za-z0-9_]+), *([A-Z]+)\\).*" "\\1;\\2" row "${row}")
  list(GET row 0 name)
  list(GET row 1 kind)
  string(APPEND SL_HOOK_RENAMES "${name} __real_${name}\n")
  string(APPEND SL_HOOK_OPTIONS "--wrap=${name}\n")
  # See absent.c.
  if(kind STREQUAL "LLAMA" OR kind STREQUAL "GGML")
    string(APPEND SL_HOOK_OPTIONS "-u ${name}\n")
  endif()
endforeach()
set(SL_HOOK_ALIASES ${CMAKE_SOURCE_DIR}/src/probe/host/static/aliases.def)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${SL_HOOK_ALIASES})
file(STRINGS ${SL_HOOK_ALIASES} aliases REGEX "^ALIAS\\(")
foreach(row ${aliases})
  string(REGEX REPLACE "^ALIAS\\(([A-Za-z0-9_]+),.*" "--wrap=\\1\n" row "${row}")
  string(APPEND SL_HOOK_OPTIONS "${row}")
endforeach()
set(SL_HOOK_LIBRARY ${CMAKE_BINARY_DIR}/libsightline-llama-hook.a)
set(SL_HOOK_OPTIONS_FILE ${CMAKE_BINARY_DIR}/libsightline-llama-hook.options)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/probe_static.renames CONTENT "@SL_HOOK_RENAMES@" @ONLY)
file(CONFIGURE OUTPUT ${SL_HOOK_OPTIONS_FILE} CONTENT "@SL_HOOK_OPTIONS@" @ONLY)
set(object ${CMAKE_BINARY_DIR}/probe_static.o)
add_custom_command(OUTPUT ${SL_HOOK_LIBRARY}
  COMMAND ${CMAKE_LINKER} -r -o ${object} $<TARGET_OBJECTS:sl_hook_objects> $<TARGET_OBJECTS:sl_probe> $<TARGET_OBJECTS:sl_core>
  COMMAND ${CMAKE_OBJCOPY} --strip-debug --redefine-syms=${CMAKE_BINARY_DIR}/probe_static.renames ${object}
  COMMAND ${CMAKE_OBJCOPY} --wildcard --keep-global-symbol=__wrap_* ${object}
  COMMAND ${CMAKE_COMMAND} -E rm -f ${SL_HOOK_LIBRARY}
  COMMAND ${CMAKE_AR} rcs ${SL_HOOK_LIBRARY} ${object} $<TARGET_OBJECTS:sl_hook_absent>
  DEPENDS sl_hook_objects sl_hook_absent sl_probe sl_core $<TARGET_OBJECTS:sl_hook_objects> $<TARGET_OBJECTS:sl_probe> $<TARGET_OBJECTS:sl_core>
    ${CMAKE_BINARY_DIR}/probe_static.renames
  COMMAND_EXPAND_LISTS VERBATIM)
add_custom_target(sightline-llama-hook ALL DEPENDS ${SL_HOOK_LIBRARY})
