"""`localq doctor --template MODEL`: is a model talked to as it was taught?"""

from localq.services.doctor.template.compare import Comparison, TemplateReport, compare_templates

__all__ = ["Comparison", "TemplateReport", "compare_templates"]
