"""What a machine has: processes, ports, databases, web servers, a browser."""
