# Eclipse Paho MQTT C, the asynchronous library with TLS. Debian ships no pkg-config file for it.
find_path(PAHO_INCLUDE_DIR MQTTAsync.h)
find_library(PAHO_LIBRARY paho-mqtt3as)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Paho REQUIRED_VARS PAHO_LIBRARY PAHO_INCLUDE_DIR)
if(Paho_FOUND AND NOT TARGET Paho::Async)
  add_library(Paho::Async UNKNOWN IMPORTED)
  set_target_properties(Paho::Async PROPERTIES IMPORTED_LOCATION ${PAHO_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${PAHO_INCLUDE_DIR})
endif()
