# Manual pages and completions, printed by the program that was just built; pkg-config and CMake package files.
include(CMakePackageConfigHelpers)

if(TARGET sightline AND NOT CMAKE_CROSSCOMPILING)
  set(SL_PAGES ${CMAKE_BINARY_DIR}/pages)
  add_custom_command(OUTPUT ${SL_PAGES}/made
    COMMAND ${CMAKE_SOURCE_DIR}/scripts/docs ${CMAKE_BINARY_DIR} --pages ${SL_PAGES}
    DEPENDS sightline ${CMAKE_SOURCE_DIR}/scripts/docs VERBATIM)
  add_custom_target(pages ALL DEPENDS ${SL_PAGES}/made)
  install(DIRECTORY ${SL_PAGES}/man1 DESTINATION ${CMAKE_INSTALL_MANDIR})
  install(FILES ${SL_PAGES}/sightline.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME sightline)
  install(FILES ${SL_PAGES}/_sightline DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
  install(FILES ${SL_PAGES}/sightline.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()

foreach(name sightline sightline-core)
  configure_file(${CMAKE_SOURCE_DIR}/cmake/${name}.pc.in ${CMAKE_BINARY_DIR}/${name}.pc @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()

set(SL_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/sightline)
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/sightlineConfig.cmake.in ${CMAKE_BINARY_DIR}/sightlineConfig.cmake
  INSTALL_DESTINATION ${SL_PACKAGE_DIR} PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/sightlineConfigVersion.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${CMAKE_BINARY_DIR}/sightlineConfig.cmake ${CMAKE_BINARY_DIR}/sightlineConfigVersion.cmake DESTINATION ${SL_PACKAGE_DIR})
