using System.Text;

namespace Kvm.Interop;

/// <summary>What a file system says of a file.</summary>
/// <param name="Identity">Which file it is.</param>
/// <param name="Length">Bytes in it.</param>
/// <param name="AllocatedBytes">Bytes of storage it takes.</param>
/// <param name="ModifiedNanoseconds">When it was last written, since 1970.</param>
/// <param name="IsRegular">It is a regular file: no folder, link, device, pipe or socket.</param>
public readonly unsafe record struct FileFacts(FileIdentity Identity, ulong Length, ulong AllocatedBytes, long ModifiedNanoseconds, bool IsRegular)
{
    /// <summary>Looks at a path, opening nothing and following no link at its end: 0 or -errno.</summary>
    public static int Look(string path, out FileFacts facts)
    {
        ArgumentNullException.ThrowIfNull(path);
        facts = default;
        Span<byte> name = stackalloc byte[512];
        int count = Encoding.UTF8.GetByteCount(path) + 1;
        name = count <= name.Length ? name[..count] : new byte[count];
        Encoding.UTF8.GetBytes(path, name);
        name[^1] = 0;
        byte* all = stackalloc byte[Libc.StatxBytes];
        fixed (byte* p = name)
        {
            if (Libc.statx(Libc.CurrentFolder, p, Libc.AT_SYMLINK_NOFOLLOW, Libc.STATX_BASIC_STATS, all) != 0)
            {
                return -Errno.Last;
            }
        }

        var stat = (Statx*)all;
        facts = new FileFacts(new FileIdentity((ulong)stat->StxDevMajor << 32 | stat->StxDevMinor, stat->StxIno), stat->StxSize, stat->StxBlocks * 512,
            (stat->StxMtime.TvSec * 1_000_000_000) + stat->StxMtime.TvNsec, (stat->StxMode & Libc.S_IFMT) == Libc.S_IFREG);
        return 0;
    }
}
