"""Text-to-image pipelines of every kind that diffusers knows and the study names: tiny, with weights by chance."""

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    KandinskyV22CombinedPipeline,
    PriorTransformer,
    StableDiffusionXLPipeline,
    UnCLIPScheduler,
    UNet2DConditionModel,
    VQModel,
)
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from training.generator import base

WIDTH = 32
"""Of every embedding."""


def stable_diffusion() -> DiffusionPipeline:
    return base.untaught(0)


def stable_diffusion_xl() -> DiffusionPipeline:
    torch.manual_seed(0)
    return StableDiffusionXLPipeline(
        vae=AutoencoderKL(
            block_out_channels=(16, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=8,
        ),
        text_encoder=CLIPTextModel(text()),
        text_encoder_2=CLIPTextModelWithProjection(text()),
        tokenizer=base.tokenizer(),
        tokenizer_2=base.tokenizer(),
        unet=UNet2DConditionModel(
            sample_size=32,
            block_out_channels=(16, 32),
            layers_per_block=1,
            norm_num_groups=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 4),
            cross_attention_dim=2 * WIDTH,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            # Six sizes of an image in eight numbers each, and the pooled words.
            projection_class_embeddings_input_dim=6 * 8 + WIDTH,
        ),
        scheduler=EulerDiscreteScheduler(steps_offset=1),
        add_watermarker=False,
    )


def kandinsky() -> DiffusionPipeline:
    torch.manual_seed(0)
    return KandinskyV22CombinedPipeline(
        unet=UNet2DConditionModel(
            in_channels=4,
            out_channels=8,
            addition_embed_type="image",
            encoder_hid_dim=WIDTH,
            encoder_hid_dim_type="image_proj",
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            block_out_channels=(16, 32),
            layers_per_block=1,
            norm_num_groups=8,
            cross_attention_dim=WIDTH,
            attention_head_dim=4,
            resnet_time_scale_shift="scale_shift",
        ),
        scheduler=DDPMScheduler(beta_schedule="linear", beta_end=0.012),
        movq=VQModel(
            block_out_channels=(32, 32),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            num_vq_embeddings=12,
            vq_embed_dim=4,
            norm_num_groups=8,
            norm_type="spatial",
        ),
        prior_prior=PriorTransformer(
            num_attention_heads=2, attention_head_dim=8, embedding_dim=WIDTH, num_layers=1
        ),
        prior_image_encoder=CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=WIDTH,
                projection_dim=WIDTH,
                intermediate_size=WIDTH,
                num_attention_heads=2,
                num_hidden_layers=1,
                image_size=32,
                patch_size=16,
            )
        ),
        prior_text_encoder=CLIPTextModelWithProjection(text()),
        prior_tokenizer=base.tokenizer(),
        prior_scheduler=UnCLIPScheduler(prediction_type="sample", num_train_timesteps=1000),
        prior_image_processor=CLIPImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ),
    )


def text() -> CLIPTextConfig:
    words = base.tokenizer()
    return CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        projection_dim=WIDTH,
        num_attention_heads=2,
        num_hidden_layers=1,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
