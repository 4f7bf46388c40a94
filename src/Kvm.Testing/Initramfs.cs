using System.Globalization;
using System.Text;

namespace Kvm.Testing;

/// <summary>A file that a guest finds in its first root file system.</summary>
/// <param name="Path">Where, from the root: <c>usr/bin/server</c>.</param>
/// <param name="Content">What is in it.</param>
/// <param name="Mode">Who may do what with it; for all to read and run where nothing is said.</param>
public sealed record GuestFile(string Path, ReadOnlyMemory<byte> Content, UnixFileMode Mode = GuestFile.Executable)
{
    private const UnixFileMode Executable = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
        | UnixFileMode.GroupRead | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherExecute;

    /// <summary>A file as it is on the host.</summary>
    /// <param name="path">Where the guest finds it.</param>
    /// <param name="source">Where the host has it.</param>
    public static GuestFile From(string path, string source) => new(path, File.ReadAllBytes(source));
}

/// <summary>Archives in the "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst), of which Linux takes several one behind the other.</summary>
internal static class Initramfs
{
    private const uint Folder = 0x41ed, Plain = 0x8000;

    /// <summary>Writes an archive followed by one with further files, and with the folders they are in.</summary>
    /// <param name="output">Where they go.</param>
    /// <param name="image">The first archive.</param>
    /// <param name="files">What is in the second.</param>
    public static void Write(Stream output, string image, IEnumerable<GuestFile> files)
    {
        using (var first = File.OpenRead(image))
            first.CopyTo(output);
        Pad(output);
        var folders = new HashSet<string>(StringComparer.Ordinal);
        foreach (var file in files)
        {
            string path = file.Path.Trim('/');
            if (path.Length == 0 || path.Split('/').Any(part => part is "" or "." or ".."))
                throw new ArgumentException($"a guest's file cannot be called '{file.Path}'");
            for (int slash = path.IndexOf('/', StringComparison.Ordinal); slash > 0; slash = path.IndexOf('/', slash + 1))
            {
                if (folders.Add(path[..slash]))
                    Member(output, path[..slash], Folder, default);
            }

            Member(output, path, Plain | (uint)file.Mode, file.Content.Span);
        }

        Member(output, "TRAILER!!!", 0, default);
    }

    /// <summary>Thirteen numbers, the name, the content.</summary>
    private static void Member(Stream output, string name, uint mode, ReadOnlySpan<byte> content)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(name + "\0");
        var header = new StringBuilder("070701");
        foreach (uint field in (ReadOnlySpan<uint>)[0, mode, 0, 0, 1, 0, (uint)content.Length, 0, 0, 0, 0, (uint)bytes.Length, 0])
            header.Append(field.ToString("x8", CultureInfo.InvariantCulture));
        output.Write(Encoding.ASCII.GetBytes(header.ToString()));
        output.Write(bytes);
        Pad(output);
        output.Write(content);
        Pad(output);
    }

    private static void Pad(Stream output)
    {
        while (output.Position % 4 != 0)
            output.WriteByte(0);
    }
}
