"""What those who call a process may hold of it: places, bytes, connections, requests a minute."""
