"""What several rooms' tests stand on: waiting, questions, tables; below, towns, logs, parties and machines."""
