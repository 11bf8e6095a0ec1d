"""The commands of the command line, which `cgdft.cli` puts together."""
