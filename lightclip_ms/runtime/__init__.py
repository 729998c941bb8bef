"""The process and its machine: device, ranks, launch, exit codes, files."""
