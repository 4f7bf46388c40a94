using Kvm.Vmm.Boot;

namespace Kvm.Vmm.Tests.Boot;

/// <summary>Loads images given as bytes.</summary>
internal static class Loading
{
    public static LoadedKernel Load(
        this TestMemory m, byte[] kernel, string commandLine = "", byte[]? initrd = null, BootProtocol protocol = BootProtocol.Auto,
        ulong rsdp = 0, bool memoryIsZero = true)
    {
        using var file = ImageSource.FromBytes("dir/kernel", kernel);
        using var disk = initrd is null ? null : ImageSource.FromBytes("initrd", initrd);
        var request = new BootRequest
        {
            Kernel = file,
            Initrd = disk,
            CommandLine = commandLine,
            Protocol = protocol,
            RsdpAddress = rsdp,
            MemoryIsZero = memoryIsZero,
        };
        return KernelLoader.Load(request, m.Memory, m.Layout);
    }

    public static LoadException Refuse(this TestMemory m, byte[] kernel, ErrorInfo error, string? commandLine = null, byte[]? initrd = null, BootProtocol protocol = BootProtocol.Auto)
    {
        var e = FluentActions.Invoking(() => m.Load(kernel, commandLine ?? "", initrd, protocol)).Should().Throw<LoadException>().Which;
        e.Error.Should().Be(error, e.Message);
        e.ToDisplayText().Split('\n').Should().HaveCount(3);
        return e;
    }

    /// <summary>Bytes that show where they came from.</summary>
    public static byte[] Pattern(int seed, int length)
    {
        byte[] bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }
}
