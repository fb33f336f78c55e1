"""Measured runs -> the paper's tables and figures."""

from alexnet_zoo.report.report import check, write_report

__all__ = ["check", "write_report"]
