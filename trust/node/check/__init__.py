"""What a holder is shown of its own files, on its own machine: nothing of it leaves."""
