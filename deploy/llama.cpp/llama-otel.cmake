# Sightline's probe in a llama.cpp that you build yourself. The sources stay as they are:
#
#   cmake -B build -DCMAKE_PROJECT_TOP_LEVEL_INCLUDES=/PATH/TO/llama-otel.cmake -DLLAMA_OTEL_ENABLE=ON
#
# Every executable of the build is linked with the probe: where libllama is a static library, with the hook library and
# the linker's --wrap; where it is a shared one, with the object that is preloaded elsewhere, named first.
# LLAMA_OTEL_LIBRARY_DIR: the folder with Sightline's libraries, when it is neither where they are installed nor its
# build folder. CMake 3.24 or newer.
option(LLAMA_OTEL_ENABLE "Link every executable with Sightline's probe" OFF)
if(NOT LLAMA_OTEL_ENABLE)
  return()
endif()
if(CMAKE_VERSION VERSION_LESS 3.24)
  message(FATAL_ERROR "llama-otel: CMake 3.24 or newer is needed")
endif()

set(LLAMA_OTEL_LIBRARY_DIR "" CACHE PATH "Folder with libsightline-llama.so and libsightline-llama-hook.a")
# In front of the first project() CMake does not know the name that Debian gives the architecture's folder.
file(GLOB llama_otel_folders "${CMAKE_CURRENT_LIST_DIR}/../../../lib/*-linux-gnu")
find_path(LLAMA_OTEL_FOUND libsightline-llama-hook.options NO_DEFAULT_PATH
  PATHS "${LLAMA_OTEL_LIBRARY_DIR}" "${CMAKE_CURRENT_LIST_DIR}/../../../lib/${CMAKE_LIBRARY_ARCHITECTURE}" ${llama_otel_folders}
    "${CMAKE_CURRENT_LIST_DIR}/../../../lib" "${CMAKE_CURRENT_LIST_DIR}/../../../lib64" "${CMAKE_CURRENT_LIST_DIR}/../../build")
mark_as_advanced(LLAMA_OTEL_FOUND)
if(NOT LLAMA_OTEL_FOUND)
  message(FATAL_ERROR "llama-otel: libsightline-llama-hook.options was not found; install Sightline, or set LLAMA_OTEL_LIBRARY_DIR")
endif()

# Targets of two types, of a folder and of those in it.
function(llama_otel_targets folder out_executables out_static)
  set(executables)
  set(static)
  get_property(targets DIRECTORY "${folder}" PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(type ${target} TYPE)
    if(type STREQUAL "EXECUTABLE")
      list(APPEND executables ${target})
    elseif(type STREQUAL "STATIC_LIBRARY")
      list(APPEND static ${target})
    endif()
  endforeach()
  get_property(folders DIRECTORY "${folder}" PROPERTY SUBDIRECTORIES)
  foreach(inner IN LISTS folders)
    llama_otel_targets("${inner}" more_executables more_static)
    list(APPEND executables ${more_executables})
    list(APPEND static ${more_static})
  endforeach()
  set(${out_executables} "${executables}" PARENT_SCOPE)
  set(${out_static} "${static}" PARENT_SCOPE)
endfunction()

# The object goes before every other library: what it takes the place of is found there first.
function(llama_otel_link_shared executables)
  add_library(llama-otel SHARED IMPORTED GLOBAL)
  set_target_properties(llama-otel PROPERTIES IMPORTED_LOCATION "${LLAMA_OTEL_FOUND}/libsightline-llama.so" IMPORTED_NO_SONAME TRUE)
  foreach(target IN LISTS executables)
    get_target_property(libraries ${target} LINK_LIBRARIES)
    if(NOT libraries)
      set(libraries)
    endif()
    set_property(TARGET ${target} PROPERTY LINK_LIBRARIES llama-otel ${libraries})
    set_property(TARGET ${target} APPEND PROPERTY LINK_OPTIONS "LINKER:--no-as-needed")
    set_property(TARGET ${target} APPEND PROPERTY BUILD_RPATH "${LLAMA_OTEL_FOUND}")
    set_property(TARGET ${target} APPEND PROPERTY INSTALL_RPATH "${LLAMA_OTEL_FOUND}")
  endforeach()
endfunction()

# The archive goes behind every static library of the build, which is what depending on it means.
function(llama_otel_link_static executables static)
  add_library(llama-otel STATIC IMPORTED GLOBAL)
  set_target_properties(llama-otel PROPERTIES IMPORTED_LOCATION "${LLAMA_OTEL_FOUND}/libsightline-llama-hook.a"
    INTERFACE_LINK_LIBRARIES "pthread;dl;m")
  foreach(target IN LISTS static)
    set_property(TARGET ${target} APPEND PROPERTY INTERFACE_LINK_LIBRARIES llama-otel)
  endforeach()
  foreach(target IN LISTS executables)
    set_property(TARGET ${target} APPEND PROPERTY LINK_LIBRARIES llama-otel)
    set_property(TARGET ${target} APPEND PROPERTY LINK_OPTIONS "-Wl,@${LLAMA_OTEL_FOUND}/libsightline-llama-hook.options")
  endforeach()
endfunction()

# At the end of the configuration, when every target is known and what libllama is as well.
function(llama_otel_link)
  set(type "SHARED_LIBRARY")
  if(TARGET llama)
    get_target_property(type llama TYPE)
  elseif(NOT BUILD_SHARED_LIBS)
    set(type "STATIC_LIBRARY")
  endif()
  llama_otel_targets("${CMAKE_SOURCE_DIR}" executables static)
  list(LENGTH executables count)
  if(type STREQUAL "STATIC_LIBRARY")
    llama_otel_link_static("${executables}" "${static}")
    message(STATUS "llama-otel: ${count} executables are linked with ${LLAMA_OTEL_FOUND}/libsightline-llama-hook.a")
  else()
    llama_otel_link_shared("${executables}")
    message(STATUS "llama-otel: ${count} executables load ${LLAMA_OTEL_FOUND}/libsightline-llama.so")
  endif()
endfunction()

cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL llama_otel_link)
