using Kvm.Interop;
using Kvm.Vmm.Tracing;

namespace Kvm.Vmm.Tests.Tracing;

public class InstructionFinderTests
{
    [Theory]
    [InlineData(0, "ee90", 1, "out dx,al", 0x1000)]
    [InlineData(1, "ee90", 1, "out dx,al", 0xfff)]
    [InlineData(2, "66ef90", 2, "out dx,ax", 0xffe)]
    [InlineData(3, "90e68048", 1, "out 80h,al", 0xffe)]
    [InlineData(2, "9090", 1, null, 0x1000)]
    public void The_instruction_of_a_port_write_is_at_RIP_or_ends_there(int before, string code, byte size, string? text, ulong rip)
    {
        var sample = Samples.Serial() with { Size = size };
        Samples.SetCode(ref sample, before, Convert.FromHexString(code));
        new InstructionFinder().Find(in sample).Should().Be(text is null ? null : (rip, text));
    }

    [Fact]
    public void A_write_to_memory_is_known_by_its_place_in_the_page()
    {
        // mov [rbx+10h],eax; mov [rbx+20h],eax; nop: RIP behind the second.
        var sample = Samples.Serial() with { Reason = KvmExit.Mmio, Address = 0xfee0_0020, Size = 4 };
        sample.Registers[3] = 0xffff_8000_0000_0000;
        Samples.SetCode(ref sample, 6, 0x89, 0x43, 0x10, 0x89, 0x43, 0x20, 0x90);
        new InstructionFinder().Find(in sample).Should().Be((0xffdUL, "mov [rbx+20h],eax"));
        sample.Address = 0xfee0_0010;
        new InstructionFinder().Find(in sample).Should().Be((0x1000UL, "nop"), "nothing that ends here goes there");
    }

    [Fact]
    public void Any_bytes_are_taken()
    {
        var random = new Random(5);
        var finder = new InstructionFinder();
        var code = new byte[TracedCode.Length];
        for (int i = 0; i < 20_000; i++)
        {
            random.NextBytes(code);
            var sample = Samples.Serial() with { Reason = (i & 1) == 0 ? KvmExit.Io : KvmExit.Mmio, Bitness = (byte)(16 << (i % 3)), IsWrite = (i & 4) != 0 };
            int length = random.Next(TracedCode.Length + 1);
            Samples.SetCode(ref sample, Math.Min(random.Next(16), length), code.AsSpan(0, length));
            var act = () => finder.Find(in sample);
            act.Should().NotThrow();
        }
    }
}
