"""What the package asks of the machine: device, memory, processes, locks and files."""
