using System.Globalization;
using Kvm.Devices.Block.Qcow2;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Storage.Tools;

/// <summary>When the storage of a new image is taken.</summary>
public enum Preallocation
{
    /// <summary>When something is written.</summary>
    Off,

    /// <summary>qcow2: places are given out now, storage is not.</summary>
    Metadata,

    /// <summary>raw: at once, by the file system.</summary>
    Falloc,
}

/// <summary>What a new image is to be, beyond its format and size: qemu-img's <c>-o</c>, by its names.</summary>
public sealed record ImageOptions
{
    /// <summary>The names that <see cref="Parse"/> knows.</summary>
    public const string Names = "cluster_size, compat, compression_type, refcount_bits, lazy_refcounts, preallocation, backing_file, backing_fmt";

    /// <summary>qcow2: bytes of a cluster.</summary>
    public int ClusterSize { get; init; } = 64 << 10;

    /// <summary>qcow2: version, 2 or 3.</summary>
    public int Version { get; init; } = 3;

    /// <summary>qcow2: how clusters are compressed that are.</summary>
    public Qcow2Compression Compression { get; init; }

    /// <summary>qcow2: bits of a refcount.</summary>
    public int RefcountBits { get; init; } = 16;

    /// <summary>qcow2: refcounts may be behind after a crash.</summary>
    public bool LazyRefcounts { get; init; }

    /// <summary>When storage is taken.</summary>
    public Preallocation Preallocation { get; init; }

    /// <summary>qcow2: the file the image is based on, as it is to be found from the image's folder.</summary>
    public string? BackingFile { get; init; }

    /// <summary>qcow2: the format of that file.</summary>
    public string? BackingFormat { get; init; }

    /// <summary>Understands <c>name=value,…</c>.</summary>
    /// <param name="text">The text; a comma of a value is written twice.</param>
    /// <param name="options">The options, where the text is right.</param>
    /// <returns>What is wrong with it, or null.</returns>
    public static string? Parse(string text, out ImageOptions options)
    {
        ArgumentNullException.ThrowIfNull(text);
        options = new ImageOptions();
        foreach (string escaped in text.Replace(",,", "\0", StringComparison.Ordinal).Split(',', StringSplitOptions.RemoveEmptyEntries))
        {
            string part = escaped.Replace('\0', ',');
            var changed = part.Split('=', 2) switch
            {
                ["cluster_size", var value] when SizeText.TryParse(value, out ulong size) && size <= int.MaxValue => options with { ClusterSize = (int)size },
                ["compat", "0.10" or "v2"] => options with { Version = 2 },
                ["compat", "1.1" or "v3"] => options with { Version = 3 },
                ["compression_type", "zlib"] => options with { Compression = Qcow2Compression.Zlib },
                ["compression_type", "zstd"] => options with { Compression = Qcow2Compression.Zstd },
                ["refcount_bits", var value] when int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out int bits) => options with { RefcountBits = bits },
                ["lazy_refcounts", "on"] => options with { LazyRefcounts = true },
                ["lazy_refcounts", "off"] => options with { LazyRefcounts = false },
                ["preallocation", "off"] => options with { Preallocation = Preallocation.Off },
                ["preallocation", "metadata"] => options with { Preallocation = Preallocation.Metadata },
                ["preallocation", "falloc"] => options with { Preallocation = Preallocation.Falloc },
                ["backing_file", { Length: > 0 } value] => options with { BackingFile = value },
                ["backing_fmt", "raw" or "qcow2"] => options with { BackingFormat = part["backing_fmt=".Length..] },
                _ => null,
            };
            if (changed is null)
                return $"has the option {VisibleText.Quote(part, 40)}, not one of {Names} with a value qemu-img knows";
            options = changed;
        }

        return null;
    }

    /// <summary>The options of a new qcow2 image of a size.</summary>
    internal Qcow2CreateOptions Qcow2(ulong size) => new()
    {
        Size = size,
        ClusterSize = ClusterSize,
        Version = Version,
        Compression = Compression,
        RefcountBits = RefcountBits,
        LazyRefcounts = LazyRefcounts,
        PreallocateMetadata = Preallocation == Preallocation.Metadata,
        Backing = BackingFile is null ? null : new BackingFile(BackingFile, BackingFormat),
    };

    /// <summary>What these options mean nothing for, or null.</summary>
    internal string? ProblemFor(ImageFormat format) => format switch
    {
        ImageFormat.Raw when this with { Preallocation = default } != new ImageOptions() || Preallocation == Preallocation.Metadata => "a raw image has no option but preallocation=off or falloc",
        ImageFormat.Qcow2 when Preallocation == Preallocation.Falloc => "a qcow2 image has preallocation=off or metadata",
        ImageFormat.Qcow2 => null,
        ImageFormat.Raw => null,
        _ => $"{ImageName.Of(format)} is read only; raw and qcow2 are written",
    };
}
