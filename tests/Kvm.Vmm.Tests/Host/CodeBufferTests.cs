using System.Globalization;
using System.Runtime.InteropServices;
using Kvm.Vmm.Host;

namespace Kvm.Vmm.Tests.Host;

public sealed unsafe class CodeBufferTests
{
    private static CodeBuffer Make(int length)
    {
        Skip.IfNot(RuntimeInformation.ProcessArchitecture == Architecture.X64, "the host is not x86-64");
        var buffer = CodeBuffer.TryCreate(length);
        Skip.If(buffer == null, "the host forbids executable shared memory");
        return buffer!;
    }

    [SkippableFact]
    public void Code_written_through_one_view_runs_through_the_other()
    {
        using var buffer = Make(65536);
        byte[] code = [0x8d, 0x47, 0x05, 0xc3]; // lea eax, [rdi + 5]; ret
        code.CopyTo(new Span<byte>((void*)buffer.Writable, 4));
        ((delegate* unmanaged<int, int>)buffer.Executable)(37).Should().Be(42);

        // Patched in place, without asking the host.
        *(byte*)(buffer.Writable + 2) = 6;
        ((delegate* unmanaged<int, int>)buffer.Executable)(37).Should().Be(43);
    }

    [SkippableFact]
    public void No_page_of_either_view_is_writable_and_executable()
    {
        using var buffer = Make(65536);
        Rights(buffer.Writable).Should().Be("rw-s");
        Rights(buffer.Executable).Should().Be("r-xs");
    }

    [SkippableFact]
    public void Disposal_unmaps_both_views()
    {
        var buffer = Make(1 << 20);
        nint writable = buffer.Writable, executable = buffer.Executable;
        Rights(writable).Should().NotBeEmpty();
        buffer.Dispose();
        Maps().Should().NotContain(line => line.Contains("kvmsharp-code", StringComparison.Ordinal)
            && (Covers(line, writable) || Covers(line, executable)));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-4096)]
    [InlineData(5000)]
    public void A_length_that_is_no_positive_multiple_of_the_page_size_is_refused(int length)
    {
        var create = () => Kvm.Interop.CodeMapping.Create(length);
        create.Should().Throw<ArgumentOutOfRangeException>();
    }

    private static string[] Maps() => File.ReadAllLines("/proc/self/maps");

    private static bool Covers(string line, nint address)
    {
        string[] range = line.Split(' ')[0].Split('-');
        return (ulong)address >= ulong.Parse(range[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture)
            && (ulong)address < ulong.Parse(range[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
    }

    private static string Rights(nint address) => Maps().Single(line => Covers(line, address)).Split(' ')[1];
}
