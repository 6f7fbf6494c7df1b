# Filled by `make install`: the daemon, its sample files, unit file and manual pages.
