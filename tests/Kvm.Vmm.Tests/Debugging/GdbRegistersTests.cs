using System.Xml.Linq;
using Kvm.Vmm.Debugging.Gdb;
using Kvm.X86.State;

namespace Kvm.Vmm.Tests.Debugging;

public class GdbRegistersTests
{
    [Theory]
    [InlineData(true, "i386:x86-64", "rip", 16)]
    [InlineData(false, "i386", "eip", 8)]
    public void The_description_names_each_register_once_in_the_order_of_its_bytes(bool wide, string architecture, string counter, int vectors)
    {
        var registers = new GdbRegisters(wide);
        // A document type is declared, which is not looked for.
        using var reader = System.Xml.XmlReader.Create(new MemoryStream(TargetDescription.Write(registers)), new() { DtdProcessing = System.Xml.DtdProcessing.Ignore });
        var target = XDocument.Load(reader).Root!;
        target.Element("architecture")!.Value.Should().Be(architecture);
        var described = target.Descendants("reg").Select(r => (Name: r.Attribute("name")!.Value, Bits: int.Parse(r.Attribute("bitsize")!.Value))).ToArray();
        described.Should().Equal(registers.All.Select(r => (r.Name, r.Bits)));
        described.Select(r => r.Name).Should().OnlyHaveUniqueItems().And.Contain([counter, "eflags", "cr3", "efer", "fs_base", $"ymm{vectors - 1}h", "mxcsr"]);
        var types = target.Descendants().Attributes("id").Select(a => a.Value);
        described.Should().HaveCountGreaterThan(60);
        types.Should().Contain(["i386_eflags", "vec128"]);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void What_is_written_is_read_back(bool wide)
    {
        var registers = new GdbRegisters(wide);
        var state = Flat(wide);
        byte seed = 1;
        foreach (var register in registers.All.Where(r => r.Kind is not (GdbRegisterKind.FpuControl or GdbRegisterKind.Xcr0 or GdbRegisterKind.Efer or GdbRegisterKind.Cr0)))
        {
            byte[] written = [.. Enumerable.Range(0, register.Bytes).Select(_ => seed++)];
            if (register.Kind is GdbRegisterKind.Segment or GdbRegisterKind.Mxcsr)
                written.AsSpan(2).Clear();
            if (register.Kind == GdbRegisterKind.Cr8)
                written = [7, .. new byte[register.Bytes - 1]];
            if (register.Kind == GdbRegisterKind.Flags)
                written[0] |= 2;
            registers.Write(state, register, written);
            byte[] read = new byte[GdbRegisters.MostBytes];
            registers.Read(state, register, read);
            read[..register.Bytes].Should().Equal(written, register.Name);
        }
    }

    [Fact]
    public void In_real_mode_the_program_counter_is_the_linear_address()
    {
        var registers = new GdbRegisters(wide: false);
        var state = new ArchitecturalState { Rip = 0x10 };
        state.Segments[1] = new SegmentRegister { Selector = 0x7c0, Base = 0x7c00, Limit = 0xffff };
        var counter = registers.All.Single(r => r.Name == "eip");
        byte[] bytes = new byte[GdbRegisters.MostBytes];
        registers.Read(state, counter, bytes);
        BitConverter.ToUInt32(bytes).Should().Be(0x7c10);
        registers.Write(state, counter, [0x20, 0x7c, 0, 0]);
        state.Rip.Should().Be(0x20);
    }

    [Theory]
    [InlineData("1234", 1234, null, true, true)]
    [InlineData("0,nowait", 0, null, false, true)]
    [InlineData("unix:a.sock", 0, "a.sock", true, true)]
    [InlineData("/run/x,i386,nowait", 0, "/run/x", false, false)]
    public void An_endpoint_is_a_port_or_a_path(string text, int port, string? path, bool wait, bool wide)
    {
        GdbEndpoint.Parse(text, out var endpoint).Should().BeNull();
        endpoint.Should().Be(new GdbEndpoint(port, path, wait, wide));
    }

    [Theory]
    [InlineData("")]
    [InlineData("65536")]
    [InlineData("host:1234")]
    [InlineData("unix:")]
    [InlineData("1234,later")]
    public void Anything_else_is_refused(string text) => GdbEndpoint.Parse(text, out _).Should().NotBeNull();

    private static ArchitecturalState Flat(bool wide)
    {
        var state = new ArchitecturalState { Cr0 = 0x8000_0011, Efer = wide ? 0x500ul : 0 };
        state.Segments[1] = new SegmentRegister { Limit = uint.MaxValue, Attributes = wide ? (ushort)0x29b : (ushort)0x49b };
        return state;
    }
}
