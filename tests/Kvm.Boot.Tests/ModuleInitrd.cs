using System.Globalization;
using System.Text;

namespace Kvm.Boot.Tests;

/// <summary>The project's initramfs with drivers of the stock kernel's own package in /modules: a second archive behind the first, as Linux allows.</summary>
internal sealed class ModuleInitrd : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-initrd").FullName;

    /// <summary>Makes the file; skips the calling test where the modules are not there.</summary>
    /// <param name="modules">Paths below kernel/drivers, without their ending.</param>
    public ModuleInitrd(params ReadOnlySpan<string> modules)
    {
        string package = Path.GetDirectoryName(GuestFiles.Require("stock/config"))!;
        string? drivers = Directory.EnumerateDirectories(Path.Combine(package, "modules")).Select(v => Path.Combine(v, "kernel", "drivers")).FirstOrDefault(Directory.Exists);
        Skip.If(drivers is null, "needs the stock kernel's modules: type scripts/guest-kernel stock");
        using var file = File.Create(FilePath);
        file.Write(File.ReadAllBytes(GuestFiles.Require("initramfs/initramfs.cpio")));
        const uint folder = 0x41ed, plain = 0x81a4;
        Entry(file, "modules", folder, []);
        foreach (string module in modules)
            Entry(file, $"modules/{Path.GetFileName(module)}.ko", plain, File.ReadAllBytes(Path.Combine(drivers!, module + ".ko")));
        Entry(file, "TRAILER!!!", 0, []);
    }

    public string FilePath => Path.Combine(_folder, "initrd.cpio");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>One member in the "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst): thirteen numbers, the name, the content.</summary>
    private static void Entry(FileStream file, string name, uint mode, byte[] content)
    {
        var header = new StringBuilder("070701");
        uint[] fields = [0, mode, 0, 0, 1, 0, (uint)content.Length, 0, 0, 0, 0, (uint)name.Length + 1, 0];
        foreach (uint field in fields)
            header.Append(field.ToString("x8", CultureInfo.InvariantCulture));
        file.Write(Encoding.ASCII.GetBytes(header + name + "\0"));
        Pad(file);
        file.Write(content);
        Pad(file);
    }

    private static void Pad(FileStream file)
    {
        while (file.Position % 4 != 0)
            file.WriteByte(0);
    }
}
