"""The project's tools, run as `python3 common/tools COMMAND`; README.md says what each does."""
