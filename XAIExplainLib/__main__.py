"""``python -m XAIExplainLib`` is the command ``xaiexplain``."""

from XAIExplainLib.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
