using Kvm.Interop.Compression;

namespace Kvm.Vmm.Boot;

/// <summary>A kernel file told apart by its content and parsed; nothing has touched guest memory.</summary>
internal sealed class KernelImage
{
    private KernelImage(ImageSource file, KernelFormat format)
    {
        File = file;
        Format = format;
    }

    /// <summary>The file.</summary>
    public ImageSource File { get; }

    /// <summary>What it is.</summary>
    public KernelFormat Format { get; }

    /// <summary>The setup header of a bzImage, else null.</summary>
    public BzImageHeader? BzImage { get; private init; }

    /// <summary>The headers of an ELF executable, else null.</summary>
    public ElfImage? Elf { get; private init; }

    /// <summary>The Multiboot header of a flat image or of an ELF executable that has one, else null.</summary>
    public MultibootHeader? Multiboot { get; private init; }

    /// <summary>Parses a file.</summary>
    /// <exception cref="LoadException">It is no kernel, or a damaged one.</exception>
    internal static KernelImage Parse(ImageSource file)
    {
        if (file.Length == 0)
            throw LoadException.Whole(LoadErrors.Empty, file, "file", "it has no bytes");
        Span<byte> head = stackalloc byte[0x206];
        head = head[..(int)Math.Min((ulong)head.Length, file.Length)];
        file.Read(0, head, "the first bytes");

        if (BzImageHeader.Matches(head))
            return new(file, KernelFormat.BzImage) { BzImage = BzImageHeader.Parse(file) };
        if (ElfParser.Matches(head))
        {
            var elf = ElfParser.Parse(file);
            return new(file, elf.Is64 ? KernelFormat.Elf64 : KernelFormat.Elf32) { Elf = elf, Multiboot = FindOptionalMultiboot(file, elf) };
        }

        if (MultibootHeader.Find(file) is { FlatEntry: not null } multiboot)
            return new(file, KernelFormat.Multiboot) { Multiboot = multiboot };
        string packed = Decompressor.Detect(head) is var c and not CompressionFormat.Unknown ? $"it is a {c} file; " : "";
        throw LoadException.Whole(LoadErrors.UnknownFormat, file, "file", $"{packed}it begins with {Convert.ToHexString(head[..Math.Min(8, head.Length)])}");
    }

    /// <summary>An image with a better way in does not fail because of the Multiboot header it has besides.</summary>
    private static MultibootHeader? FindOptionalMultiboot(ImageSource file, ElfImage elf)
    {
        try
        {
            return MultibootHeader.Find(file);
        }
        catch (LoadException) when (elf.Notes.PvhEntry is not null || elf.IsLinux)
        {
            return null;
        }
    }
}
