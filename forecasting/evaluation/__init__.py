"""Backtest windows, metrics and selection."""
