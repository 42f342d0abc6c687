"""The panels of the XAIExplain module, and the logic behind them: one idea a file."""
