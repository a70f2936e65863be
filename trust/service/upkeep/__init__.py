"""What an operator does now and then: backup, restore, check and repair."""
