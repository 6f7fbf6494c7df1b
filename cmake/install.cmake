# `make install`: the daemon, its sample configuration, unit file and manual pages. An installed configuration is never
# overwritten.
set(unit_dir lib/systemd/system)
configure_file(systemd/tidegate.service.in generated/tidegate.service @ONLY)
configure_file(systemd/tidegate.tmpfiles.in generated/tidegate.tmpfiles @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/generated/tidegate.service DESTINATION ${unit_dir})
install(FILES systemd/tidegate.sysusers DESTINATION lib/sysusers.d RENAME tidegate.conf)
install(FILES ${CMAKE_BINARY_DIR}/generated/tidegate.tmpfiles DESTINATION lib/tmpfiles.d RENAME tidegate.conf)

install(CODE "
  set(target \"\$ENV{DESTDIR}${CMAKE_INSTALL_FULL_SYSCONFDIR}/tidegate\")
  file(MAKE_DIRECTORY \"\${target}/conf.d\")
  if(NOT EXISTS \"\${target}/tidegate.conf\")
    file(COPY \"${CMAKE_SOURCE_DIR}/config/tidegate.conf\" DESTINATION \"\${target}\"
      FILE_PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ)
  endif()
")
install(FILES config/tidegate.conf config/topics.conf DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
install(FILES README.md CHANGELOG.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES docs/man/tidegate.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
install(FILES docs/man/tidegate-sim.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)

# tidegate.conf(5) comes from the same rows as the parser.
add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/generated/tidegate.conf.5
  COMMAND tidegate --manual > ${CMAKE_BINARY_DIR}/generated/tidegate.conf.5
  DEPENDS tidegate VERBATIM)
add_custom_target(manual ALL DEPENDS ${CMAKE_BINARY_DIR}/generated/tidegate.conf.5)
install(FILES ${CMAKE_BINARY_DIR}/generated/tidegate.conf.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
