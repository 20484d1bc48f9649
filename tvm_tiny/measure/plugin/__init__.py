"""C sources of the QEMU plugin that counts instructions."""
