"""Every system that this library has or is to have, with its source; `vaegan models` prints it."""

from typing import NamedTuple


class Row(NamedTuple):
    """A system: the name to train it by, what it is called, and where it comes from."""

    name: str
    title: str
    source: str


CATALOG: tuple[Row, ...] = (
    Row("autoencoder", "Autoencoder, linear and deep", "Hinton & Salakhutdinov 2006"),
    Row("denoising-autoencoder", "Denoising autoencoder", "Vincent et al. 2008"),
    Row(
        "sparse-coding",
        "Sparse coding and predictive sparse decomposition",
        "Olshausen & Field 1996; Kavukcuoglu et al. 2008",
    ),
    Row(
        "rbm",
        "Restricted Boltzmann machine, deep belief network, deep Boltzmann machine",
        "Hinton et al. 2006; Salakhutdinov & Hinton 2009",
    ),
    Row("ladder", "Ladder network", "Rasmus et al. 2015"),
    Row("vae", "Variational autoencoder", "Kingma & Welling 2013"),
    Row("iwae", "Importance weighted autoencoder", "Burda et al. 2015"),
    Row("hierarchical-vae", "Hierarchical variational autoencoder", "Sonderby et al. 2016; Child 2021"),
    Row("vq-vae", "Vector-quantized autoencoder", "van den Oord et al. 2017"),
    Row("draw", "Deep recurrent attentive writer", "Gregor et al. 2015"),
    Row("pixelcnn", "Gated PixelCNN", "van den Oord et al. 2016; Salimans et al. 2017"),
    Row("video-pixel-network", "Video pixel network", "Kalchbrenner et al. 2016"),
    Row("wavenet", "WaveNet", "van den Oord et al. 2016"),
    Row("nade", "Neural autoregressive density estimator", "Larochelle & Murray 2011"),
    Row("ride", "Recurrent image density estimator", "Theis & Bethge 2015"),
    Row("glow", "Glow", "Kingma & Dhariwal 2018"),
    Row("gan", "Generative adversarial network, DCGAN or MLP", "Goodfellow et al. 2014; Radford et al. 2015"),
    Row("dcgan", "Deep convolutional GAN", "Radford et al. 2015"),
    Row("lsgan", "Least squares GAN", "Mao et al. 2017"),
    Row("wgan", "Wasserstein GAN", "Arjovsky et al. 2017"),
    Row("wgan-gp", "Wasserstein GAN with gradient penalty", "Gulrajani et al. 2017"),
    Row("dragan", "DRAGAN", "Kodali et al. 2017"),
    Row("r1gan", "GAN with zero-centered gradient penalty", "Mescheder et al. 2018"),
    Row("lgan", "Lipschitz GAN", "Zhou et al. 2019"),
    Row("coulomb-gan", "Coulomb GAN", "Unterthiner et al. 2017"),
    Row("hinge-gan", "GAN with hinge loss", "Lim & Ye 2017"),
    Row("rsgan", "Relativistic GAN", "Jolicoeur-Martineau 2018"),
    Row("ragan", "Relativistic average GAN", "Jolicoeur-Martineau 2018"),
    Row("ebgan", "Energy-based GAN", "Zhao et al. 2016"),
    Row("began", "Boundary equilibrium GAN", "Berthelot et al. 2017"),
    Row("cgan", "Conditional GAN", "Mirza & Osindero 2014"),
    Row("acgan", "Auxiliary classifier GAN", "Odena et al. 2016"),
    Row("infogan", "InfoGAN", "Chen et al. 2016"),
    Row("projection-gan", "GAN with projection discriminator", "Miyato & Koyama 2018"),
    Row("lapgan", "Laplacian pyramid of GANs", "Denton et al. 2015"),
    Row("sngan", "Spectrally normalized GAN", "Miyato et al. 2018"),
    Row("sagan", "Self-attention GAN", "Zhang et al. 2018"),
    Row("biggan", "BigGAN", "Brock et al. 2018"),
    Row("biggan-deep", "BigGAN-deep", "Brock et al. 2018"),
    Row("progressive-gan", "Progressive growing of GANs", "Karras et al. 2017"),
    Row("stylegan", "StyleGAN and StyleGAN 2", "Karras et al. 2018, 2019"),
    Row("cogan", "Coupled GAN", "Liu & Tuzel 2016"),
    Row("simgan", "SimGAN", "Shrivastava et al. 2016"),
    Row("pix2pix", "pix2pix", "Isola et al. 2016"),
    Row("cyclegan", "CycleGAN, DualGAN, DiscoGAN", "Zhu et al. 2017; Yi et al. 2017; Kim et al. 2017"),
    Row("srgan", "SRResNet and SRGAN", "Ledig et al. 2016"),
    Row("adversarial-segmentation", "Adversarial segmentation", "Luc et al. 2016"),
    Row("text-to-image", "Text to image, one stage and StackGAN", "Reed et al. 2016; Zhang et al. 2016"),
    Row("ppgn", "Plug and play generative network", "Nguyen et al. 2016"),
    Row("dall-e", "DALL-E", "Ramesh et al. 2021"),
    Row("vae-gan", "VAE-GAN", "Larsen et al. 2015"),
    Row("aae", "Adversarial autoencoder", "Makhzani et al. 2015"),
    Row("avb", "Adversarial variational Bayes", "Mescheder et al. 2017"),
    Row("bigan", "BiGAN / ALI", "Donahue et al. 2016; Dumoulin et al. 2016"),
    Row("factor-vae", "FactorVAE", "Kim & Mnih 2018"),
    Row("drnet", "Disentangled representations of video", "Denton & Birodkar 2017"),
    Row("domain-adaptation", "Adversarial domain adaptation", "Ganin et al. 2015; Tzeng et al. 2015, 2017"),
    Row("fair-representations", "Adversarially fair representations", "Edwards & Storkey 2016; Madras et al. 2018"),
    Row("predictability-minimization", "Predictability minimization", "Schmidhuber 1992"),
    Row(
        "introspective-adversarial-network",
        "Introspective adversarial network, iGAN",
        "Brock et al. 2016; Zhu et al. 2016",
    ),
)
