using Kvm.Tests.Support;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Vmm.Tests.Storage.Tools;

/// <summary>A folder of images for a test.</summary>
internal sealed class ToolFolder : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-disk").FullName;

    public string Path(string name) => System.IO.Path.Combine(_folder, name);

    public ImageName Name(string name, bool backing = false) => new(Path(name), ImageName.FormatByName(name), backing);

    /// <summary>The files in it, but those that a test made itself before.</summary>
    public string[] Files => [.. Directory.GetFiles(_folder).Select(f => System.IO.Path.GetFileName(f)).Order(StringComparer.Ordinal)];

    public byte[] Bytes(string name) => File.ReadAllBytes(Path(name));

    /// <summary>A raw disk with every kind of content: random, compressible, zeros, holes.</summary>
    public byte[] Raw(string name, int length, int seed = 1)
    {
        byte[] bytes = new byte[length];
        var random = new Random(seed);
        using var file = new FileStream(Path(name), FileMode.Create);
        file.SetLength(length);
        for (int at = 0; at < length;)
        {
            int count = Math.Min(length - at, random.Next(1, 60) * 2048), kind = random.Next(4);
            var part = bytes.AsSpan(at, count);
            if (kind == 0)
                random.NextBytes(part);
            for (int i = 0; kind == 1 && i < count; i++)
                part[i] = (byte)(1 + i / 100 % 7);
            // A hole is not written; zeros are.
            if (kind != 3)
            {
                file.Position = at;
                file.Write(part);
            }

            at += count;
        }

        return bytes;
    }

    /// <summary>QEMU finds nothing wrong with an image, and it reads as these bytes.</summary>
    public void ShouldBe(string name, byte[] content)
    {
        File.WriteAllBytes(Path("judge.raw"), content);
        if (ImageName.FormatByName(name) == ImageFormat.Qcow2)
        {
            var (code, text) = QemuImg.Check(Path(name));
            code.Should().Be(0, text);
        }

        QemuImg.Run("compare", "-f", "raw", "-F", ImageName.Of(ImageName.FormatByName(name)), Path("judge.raw"), Path(name));
        File.Delete(Path("judge.raw"));
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);
}
