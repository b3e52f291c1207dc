"""Model families in small sizes, a module for each group of them."""

from __future__ import annotations

from tests.reference.family_case import FamilyCase
from tests.reference.family_cases.bert import BERT_CASES
from tests.reference.family_cases.deepseek import DEEPSEEK_CASES
from tests.reference.family_cases.ernie import ERNIE_CASES
from tests.reference.family_cases.gemma import GEMMA_CASES
from tests.reference.family_cases.gemma_later import GEMMA_LATER_CASES
from tests.reference.family_cases.glm import GLM_CASES
from tests.reference.family_cases.gpt import GPT_CASES
from tests.reference.family_cases.gpt_oss import GPT_OSS_CASES
from tests.reference.family_cases.granite import GRANITE_CASES
from tests.reference.family_cases.minicpm import MINICPM_CASES
from tests.reference.family_cases.mistral import MISTRAL_CASES
from tests.reference.family_cases.mistral3 import MISTRAL3_CASES
from tests.reference.family_cases.mistral_own import MISTRAL_OWN_CASES
from tests.reference.family_cases.modern_bert import MODERN_BERT_CASES
from tests.reference.family_cases.olmo import OLMO_CASES
from tests.reference.family_cases.phi import PHI_CASES
from tests.reference.family_cases.qwen import QWEN_CASES
from tests.reference.family_cases.qwen_linear import QWEN_LINEAR_CASES
from tests.reference.family_cases.qwen_vl import QWEN_VL_CASES
from tests.reference.family_cases.seeing import SEEING_CASES
from tests.reference.family_cases.state_space import STATE_SPACE_CASES

__all__ = ["FAMILY_CASES"]

FAMILY_CASES: tuple[FamilyCase, ...] = (
    *BERT_CASES,
    *DEEPSEEK_CASES,
    *ERNIE_CASES,
    *GEMMA_CASES,
    *GEMMA_LATER_CASES,
    *GLM_CASES,
    *GPT_CASES,
    *GPT_OSS_CASES,
    *GRANITE_CASES,
    *MINICPM_CASES,
    *MISTRAL_CASES,
    *MISTRAL3_CASES,
    *MISTRAL_OWN_CASES,
    *MODERN_BERT_CASES,
    *OLMO_CASES,
    *PHI_CASES,
    *QWEN_CASES,
    *QWEN_LINEAR_CASES,
    *QWEN_VL_CASES,
    *SEEING_CASES,
    *STATE_SPACE_CASES,
)
