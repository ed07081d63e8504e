# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The names that this package gives to verl, and the paths of verl's configuration that its code refers to.

Other modules use these constants; only their docstrings and messages spell a value out. This module imports nothing.
"""

PACKAGE = "verl_mapo"
"""Name of this package, and of the logger above those of its modules."""

# Advantage estimators: values of ADV_ESTIMATOR.
MAPO = "mapo"
AXPO = "axpo"
VGPO = "vgpo"
HDPO = "hdpo"
NAAR = "naar"
DTPO = "dtpo"
PEPO = "pepo"
GDPO = "gdpo"
VPPO = "vppo"
SRPO = "srpo"
PAPO = "papo"
PGPO = "pgpo"
VIEWED = (VPPO, SRPO, PAPO, PGPO)
WEIGHING = (VGPO, PEPO, *VIEWED)
"""Those whose update weighs the tokens of a rollout by what the log-prob pass gives, which the lens can measure."""
ESTIMATORS = (MAPO, AXPO, VGPO, HDPO, NAAR, DTPO, PEPO, GDPO, *VIEWED)

LENS = "lens"
"""Name of the method that trains nothing and measures gradients."""

# verl's trainers, which this package extends under their own names.
TRAINERS = ("sync", "colocate_async", "separate_async")

# verl's FSDP engines, which this package extends under their own names.
ENGINES = ("fsdp", "fsdp2")

AGENT_LOOP = "visual_tool_agent"
"""Value of DEFAULT_AGENT_LOOP, and of a row's ``agent_name``."""

STOCK_AGENT_LOOPS = ("single_turn_agent", "tool_agent", "diffusion_single_turn_agent")
"""verl's own agent loops, none of which records visual turns."""

REWARD_MANAGER = "description_alignment"
"""Value of REWARD_MANAGER_NAME."""

RESAMPLING_MANAGER = "verl_mapo.rollout.axpo.worker.ResamplingManager"
"""Value that AXPO gives to AGENT_LOOP_MANAGER."""

# Paths of verl's configuration.
ADV_ESTIMATOR = "algorithm.adv_estimator"
BYPASS_MODE = "algorithm.rollout_correction.bypass_mode"
AGENT_LOOP_MANAGER = "actor_rollout_ref.rollout.agent.agent_loop_manager_class"
AGENT_WORKERS = "actor_rollout_ref.rollout.agent.num_workers"
AGENT_LOOP_FILE = "actor_rollout_ref.rollout.agent.agent_loop_config_path"
DEFAULT_AGENT_LOOP = "actor_rollout_ref.rollout.agent.default_agent_loop"
MAX_ASSISTANT_TURNS = "actor_rollout_ref.rollout.multi_turn.max_assistant_turns"
CUSTOM_REWARD_FUNCTION = "reward.custom_reward_function.path"
REWARD_MANAGER_NAME = "reward.reward_manager.name"
REWARD_MANAGER_SOURCE = "reward.reward_manager.source"
IMAGE_CACHE = "actor_rollout_ref.rollout.engine_kwargs.vllm.mm_processor_cache_gb"
IMAGES_PER_PROMPT = "actor_rollout_ref.rollout.engine_kwargs.vllm.limit_mm_per_prompt.image"
CHAT_TEMPLATE_KWARGS = "data.apply_chat_template_kwargs"
MM_PROCESSOR_KWARGS = "data.mm_processor_kwargs"
MODEL_PATH = "actor_rollout_ref.model.path"
PICTURE_DIR = "data.picture_dir"
ROLLOUT_N = "actor_rollout_ref.rollout.n"
TRAIN_FILES = "data.train_files"
PROMPT_LENGTH = "data.max_prompt_length"
RESPONSE_LENGTH = "data.max_response_length"
VAL_FILES = "data.val_files"
TOTAL_EPOCHS = "trainer.total_epochs"
VAL_ONLY = "trainer.val_only"
TOTAL_STEPS = "trainer.total_training_steps"
SAVE_FREQ = "trainer.save_freq"
TEST_FREQ = "trainer.test_freq"
LOGGER = "trainer.logger"
RESUME_MODE = "trainer.resume_mode"
RESUME_PATH = "trainer.resume_from_path"
TRAIN_ROWS = "data.train_max_samples"
VAL_ROWS = "data.val_max_samples"
ROLLOUT = "actor_rollout_ref.rollout"
TRAIN_BATCH_SIZE = "data.train_batch_size"
STRATEGY = "actor_rollout_ref.actor.strategy"
DEVICE = "trainer.device"
ATTENTION = "actor_rollout_ref.model.override_config.attn_implementation"
GPUS_PER_NODE = "trainer.n_gpus_per_node"
NODES = "trainer.nnodes"
REWARD_WORKERS = "reward.num_workers"
FSDP_SIZE = "actor_rollout_ref.actor.fsdp_config.fsdp_size"
OBJECT_STORE_MEMORY = "ray_kwargs.ray_init.object_store_memory"
TRAINER_MODE = "trainer.v1.trainer_mode"
CHECKPOINT_DIR = "trainer.default_local_dir"
ROLLOUT_DATA_DIR = "trainer.rollout_data_dir"
DATA_CLASS_PATH = "data.custom_cls.path"
IMPORTED_LATER = ("actor_rollout_ref.model.external_lib", DATA_CLASS_PATH)
"""Modules of the user that verl imports while it makes the trainer; they may register agent loops."""

# Nodes of the configuration that this package adds.
MAPO_NODE = "algorithm.mapo"
AXPO_NODE = "algorithm.axpo"
VISUAL_CREDIT_NODE = "algorithm.visual_credit"
VISUAL_TOOL_NODE = "visual_tool"
RECORDS_NODE = "records"
LENS_NODE = "lens"
STRATEGIES_NODE = "strategy_of"
ALIGNMENT_NODE = "reward.description_alignment"

# Keys of ``extra_fields`` and of ``reward_extra_info``, which verl carries with a rollout.
TRAJECTORY = "trajectory"
"""Key in ``extra_fields``: a Trajectory until the rollout is scored, its record (plain JSON) in the stored row."""

REWARD_TERMS = "reward_extra_info"
"""verl's key in ``extra_fields`` for what a reward manager returned besides the reward."""

OUTCOME_ERROR = "outcome_error"
"""Key in ``reward_extra_info`` of a rollout whose outcome could not be computed: the reason, in a sentence."""

AUDIT_OUTCOMES = "audit_outcomes"
"""Key in ``reward_extra_info`` of an audited rollout: the outcome of each swap; None where it is not known."""

AUDIT_TRUTH = "audit_truth"
"""Field of a validation row: its first accepted answer, where its rollouts are audited; else empty."""

AUDIT_PICTURE = "audit_picture"
"""Field of a validation row: the path of another row's picture, where its rollouts are audited; else empty."""

ALIGNMENT_SCORES = "alignment_scores"
"""Key in ``reward_extra_info``: the alignment of each visual turn; absent when nothing scores alignment."""
