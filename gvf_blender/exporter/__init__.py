"""Handing results to other programs, and measuring what arrived in the file."""

from .export import FORMATS, ExportReport, export, export_obstacle

__all__ = ["FORMATS", "ExportReport", "export", "export_obstacle"]
