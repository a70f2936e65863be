"""What every process needs: serving, problems, log lines, crash points."""
