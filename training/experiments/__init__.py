"""The study's experiments, each one command that writes one folder: `report.html` and `results.json`."""
