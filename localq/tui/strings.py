"""Every text of the app that a user reads, in one place so that it can be translated."""

from __future__ import annotations

from localq.messages import msg, translate


def _(text: str) -> str:
    return translate(msg(text))


APP = "localq"

# --- errors ---
UNEXPECTED = _("something unexpected went wrong: {}")
UNEXPECTED_HINT = _("the details are in {}")
UNEXPECTED_NOT_LOGGED = _("the details could not be written to {}: {}")
HINT = "→ {}"

# --- keys, as the footer and the help name them ---
KEY_CHAT = _("Chat")
KEY_QUANTIZE = _("Quantize")
KEY_PULL = _("Pull")
KEY_PULL_DEMO = _("Pull the demo")
KEY_PULL_OTHER = _("Pull another")
KEY_DELETE = _("Remove")
KEY_FILTER = _("Filter")
KEY_CLEAR_FILTER = _("Clear filter")
KEY_REFRESH = _("Refresh")
KEY_DETAILS = _("Details")
KEY_HELP = _("Help")
KEY_QUIT = _("Quit")
KEY_CLOSE = _("Close")
KEY_BACK = _("Back")
KEY_STOP = _("Stop")
KEY_START = _("Start")
KEY_SEND = _("Send")
KEY_NEWLINE = _("New line")
KEY_LEAVE_RUNNING = _("Close anyway")
KEY_YES = _("Yes")
KEY_NO = _("No")

# --- library ---
LIBRARY_TITLE = _("Models")
DETAILS_TITLE = _("Details")
COLUMN_NAME = _("Name")
COLUMN_QUANT = _("Type")
COLUMN_SIZE = _("Size")
COLUMN_PARAMETERS = _("Params")
COLUMN_USED = _("Used")
LIBRARY_LOADING = _("Reading the library…")
FILTER_PLACEHOLDER = _("name, type or architecture")
NO_MATCH = _("No model matches “{}”.  esc clears the filter.")
ONE_MODEL = _("1 model")
MANY_MODELS = _("{} models")
SHOWN_OF = _("{} of {} models")
CHECKPOINT_CANNOT_CHAT = _("{} is a checkpoint. Press q to make a model from it that can chat.")
REMOVED = _("{} is in the trash; emptying it frees {}.")
FORGOTTEN = _("{} is no longer listed; nothing was deleted.")
READY = _("{} is ready.")
ALREADY_THERE = _("{} was there already.")

EMPTY_TITLE = _("No models yet")
EMPTY_TEXT = _("Pull one and it will be listed here.")
EMPTY_LOOKING = _("Looking for models that fit this machine…")
EMPTY_PULL = _("Pull {}")
EMPTY_DEMO = _("Pull the demo, a very small story teller to try things with")
EMPTY_OTHER = _("Choose another model")

# --- details ---
DETAIL_ARCHITECTURE = _("Architecture")
DETAIL_PARAMETERS = _("Parameters")
DETAIL_CONTEXT = _("Context")
DETAIL_SIZE = _("Size")
DETAIL_SOURCE = _("Source")
DETAIL_LICENSE = _("License")
DETAIL_TENSORS = _("Tensors")
DETAIL_TEMPLATE = _("Chat template")
DETAIL_ADDED = _("Added")
DETAIL_PATH = _("Path")
TOKENS = _("{:,} tokens")
LOCAL_FOLDER = _("a folder of this machine")
UNKNOWN = _("not stated")
YES = _("yes")
NO = _("no")
DETAILS_LOADING = _("Reading…")

# --- quantize ---
QUANTIZE_TITLE = _("Quantize")
QUANTIZE_STOP = _("Stop quantizing?")
QUANTIZE_STOPPED_JOB = _("What was made so far is kept: the same type goes on from there.")
QUANTIZE_REPLACE = _("{} is in the library already. Make it again?")
QUANT_TYPE = _("Type")
QUANT_BITS = _("Bits")
QUANT_SIZE = _("Size")
QUANT_ABOUT = _("Good for")
RECOMMENDED = _("recommended")
MADE = _("✓ in the library")
ABOUT_Q4_0 = _("small, and quick on any machine")
ABOUT_Q4_K_M = _("recommended: the best balance")
ABOUT_Q5_1 = _("older 5-bit type, steady quality")
ABOUT_Q5_K_M = _("a little larger and closer than Q4_K_M")
ABOUT_Q6_K = _("hard to tell from the original")
ABOUT_Q8_0 = _("practically the original, half the size")
ABOUT_F16 = _("16-bit, a base for other tools")
ABOUT_BF16 = _("16-bit, as most models were trained")
ABOUT_F32 = _("full precision, for measurements")

# --- pull ---
PULL_TITLE = _("Pull a model")
PULL_INPUT = _("OWNER/NAME, OWNER/NAME@REVISION or OWNER/NAME:TYPE")
PULL_FITTING = _("Models that fit this machine")
PULL_LOOKING = _("Looking for models that fit this machine…")
PULL_NO_CHOICES = _("No suggestions; type the name of any model above.")
PULL_STOP = _("Stop pulling?")
PULL_STOPPED_JOB = _("What has arrived is kept for the next time.")

# --- jobs ---
STARTING = _("Starting…")
STOPPING = _("Stopping…")
STOPPED = _("Stopped.")
AMOUNT_OF = _("{} of {}")
PER_SECOND = "{}/s"
SECONDS_LEFT = _("{} left")

# --- questions ---
DELETE_TITLE = _("Remove")
DELETE_QUESTION = _("Move {} to the trash?")
FORGET_QUESTION = _("Take {} off the list?")
DELETE_FREES = _("It takes {} until the trash is emptied; localq restore brings it back.")
FORGET_LEAVES = _("Its files are not localq's own and stay where they are.")
ANSWER_DELETE = _("Remove")
ANSWER_STOP = _("Stop")
ANSWER_REPLACE = _("Make it again")
ANSWER_KEEP = _("Keep")
ANSWER_CONTINUE = _("Continue")
STOP_TITLE = _("Stop")
QUIT_TITLE = _("Quit")
QUIT_QUESTION = _("Quit, and stop this job?")
ANSWER_QUIT = _("Quit")
REPLACE_TITLE = _("Replace")

# --- chat ---
YOU = _("You")
CHAT_INTRO = _("Loading {} into memory…")
CHAT_READY = _("Say something.")
CHAT_PLACEHOLDER = _("Message")
CHAT_STILL_LOADING = _("The model is still being loaded; your text stays here until then.")
CHAT_STATE_LOADING = _("loading")
CHAT_STATE_IDLE = _("ready")
CHAT_STATE_GENERATING = _("writing")
CHAT_STATE_STOPPING = _("stopping")
CHAT_STATE_FAILED = _("failed")
CHAT_STOPPED = _("stopped")
CHAT_LENGTH = _("cut off: the longest reply allowed")
CHAT_CONTEXT = _("cut off: the context is full")
CHAT_SPEED = _("{:.1f} tok/s")
CHAT_USED = _("{:,} / {:,} tokens")

# --- help ---
HELP_TITLE = _("Keys")
HELP_LIBRARY = _("Library")
HELP_CHAT = _("Chat")
HELP_EVERYWHERE = _("Everywhere")
HELP_MOVE = _("Choose a model")
HELP_PALETTE = _("Commands and themes")
HELP_COPY = _("Copy text selected with the mouse")
HELP_SCROLL = _("Scroll the conversation")
HELP_ESC_CHAT = _("Stop the reply; then go back")
