using Kvm.Devices.Block;
using Kvm.Devices.Block.Qcow2;
using Kvm.Devices.Memory;
using Kvm.Vmm.Storage;

namespace Kvm.Vmm.Tests.Storage.Qcow2;

/// <summary>A folder of images for a test, opened as a machine opens them, and bytes moved in and out.</summary>
internal sealed class ImageFolder : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-qcow").FullName;
    private readonly AlignedBuffer _memory = new(4 << 20);

    public string PathOf(string name) => Path.Combine(_folder, name);

    public string Raw(string name, byte[] content)
    {
        File.WriteAllBytes(PathOf(name), content);
        return PathOf(name);
    }

    /// <summary>Opens an image of the folder as <c>--disk</c> does.</summary>
    public static IDiskImage Open(string path, bool readOnly = false, bool backing = true, DiskFormat format = DiskFormat.Qcow2) =>
        DiskOpener.Open(new DiskConfig { Path = path, ReadOnly = readOnly, Format = format, AllowBacking = backing }).Image;

    public static Qcow2Image OpenQcow2(string path, bool readOnly = false) => (Qcow2Image)Open(path, readOnly);

    /// <summary>Makes an image in the folder.</summary>
    public Qcow2Image Create(string name, Qcow2CreateOptions options)
    {
        File.WriteAllBytes(PathOf(name), []);
        var file = HostFile.OpenNew(PathOf(name));
        return Qcow2Creator.Create(file, options, new Qcow2OpenOptions { Codecs = ClusterCodec.Create, OpenBacking = backing => Open(PathOf(backing.Name), readOnly: true, format: backing.Format == "raw" ? DiskFormat.Raw : DiskFormat.Qcow2) });
    }

    public byte[] Read(IDiskImage image, ulong position, int length)
    {
        byte[] bytes = new byte[length];
        for (int done = 0; done < length;)
        {
            int count = Math.Min(length - done, _memory.Length);
            var piece = _memory.Buffer.Slice(0, count);
            piece.Span.Fill(0xee);
            image.Read(position + (ulong)done, new ReadOnlySpan<HostBuffer>(in piece)).Should().Be(DiskResult.Done, $"reading {count} bytes at {position + (ulong)done}");
            piece.Span.CopyTo(bytes.AsSpan(done));
            done += count;
        }

        return bytes;
    }

    public byte[] ReadAll(IDiskImage image) => Read(image, 0, (int)image.Length);

    /// <summary>Writes bytes, cut into pieces of odd lengths.</summary>
    public DiskResult Write(IDiskImage image, ulong position, ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(_memory.Buffer.Span);
        int cut = Math.Min(bytes.Length, 700);
        return image.Write(position, [_memory.Buffer.Slice(0, cut), _memory.Buffer.Slice(cut, bytes.Length - cut)]);
    }

    public void Dispose()
    {
        _memory.Dispose();
        Directory.Delete(_folder, recursive: true);
    }
}
