"""Scores of a run as a terminal table, one self-contained page, and a model card."""

from holdfast.report.card import write_card as write_card
from holdfast.report.compare.compare import compare as compare
from holdfast.report.compare.compare_page import write_comparison as write_comparison
from holdfast.report.run.page import write_page as write_page
from holdfast.report.run.terminal import terminal as terminal
