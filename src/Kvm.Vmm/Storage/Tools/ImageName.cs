namespace Kvm.Vmm.Storage.Tools;

/// <summary>What a file with a disk is, for programs that convert it.</summary>
public enum ImageFormat
{
    /// <summary>The disk, byte for byte.</summary>
    Raw,

    /// <summary>QEMU's qcow2.</summary>
    Qcow2,

    /// <summary>A virtual hard disk (VHD); read by qemu-img only, like the ones below.</summary>
    Vpc,

    /// <summary>VMware's, in one sparse file.</summary>
    Vmdk,

    /// <summary>The successor of VHD.</summary>
    Vhdx,
}

/// <summary>An image as a user names it.</summary>
/// <param name="Path">The file.</param>
/// <param name="Format">What it is.</param>
/// <param name="AllowBacking">The files it says it is based on may be opened.</param>
public sealed record ImageName(string Path, ImageFormat Format, bool AllowBacking = false)
{
    /// <summary>The names of <see cref="ImageFormat"/>, in its order; qemu-img's.</summary>
    public static IReadOnlyList<string> Formats { get; } = ["raw", "qcow2", "vpc", "vmdk", "vhdx"];

    /// <summary>True for a format that only qemu-img reads.</summary>
    public bool IsForeign => Format > ImageFormat.Qcow2;

    /// <summary>The format where nobody says it: by the file's name, never by its bytes, which a guest may have written.</summary>
    public static ImageFormat FormatByName(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        return System.IO.Path.GetExtension(path).ToUpperInvariant() switch
        {
            ".QCOW2" => ImageFormat.Qcow2,
            ".VHD" or ".VPC" => ImageFormat.Vpc,
            ".VMDK" => ImageFormat.Vmdk,
            ".VHDX" => ImageFormat.Vhdx,
            _ => ImageFormat.Raw,
        };
    }

    /// <summary>The name of a format.</summary>
    public static string Of(ImageFormat format) => Formats[(int)format];
}
