using System.Buffers.Binary;
using Kvm.Vmm.Tracing;

namespace Kvm.Vmm.Tests.Tracing;

public class SymbolTableTests
{
    [Theory]
    [InlineData(0x1000, "first")]
    [InlineData(0x1012, "first+0x12")]
    [InlineData(0x2000, "second")]
    [InlineData(0xfff, null)]
    [InlineData(0x2000 + (2 << 20), null)]
    public void An_address_is_named_by_the_function_it_lies_in(ulong address, string? name)
    {
        SymbolTable.FromMap(["0000000000002000 t second", "0000000000001000 T first", "0000000000001800 D data", "nonsense", "1 T"]).Describe(address).Should().Be(name);
        SymbolTable.FromElf(new MemoryStream(Elf())).Describe(address).Should().Be(name);
    }

    [Fact]
    public void Names_are_made_safe_to_show() =>
        SymbolTable.FromMap(["0000000000001000 T a\u001b[31m"]).Describe(0x1000).Should().Be("a\\x1b[31m");

    [Fact]
    public void A_lying_file_is_refused_or_gives_fewer_names()
    {
        byte[] good = Elf();
        var random = new Random(3);
        for (int i = 0; i < 5_000; i++)
        {
            byte[] bad = (byte[])good.Clone();
            for (int flips = random.Next(1, 4); flips > 0; flips--)
                bad[random.Next(bad.Length)] = (byte)random.Next(256);
            try
            {
                SymbolTable.FromElf(new MemoryStream(bad)).Count.Should().BeLessThanOrEqualTo(1_000);
            }
            catch (InvalidDataException)
            {
                // Refused.
            }
        }

        for (int length = 0; length < good.Length; length++)
            new Action(() => SymbolTable.FromElf(new MemoryStream(good[..length]))).Should().NotThrow<IOException>();
    }

    [Fact]
    public void What_was_asked_for_and_holds_none_is_an_error()
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllText(path, "hello");
            new Action(() => SymbolTable.Load(path)).Should().Throw<VmmException>().Where(e => e.Error.Id == "KVM0029");
            SymbolTable.Beside(path).Should().BeNull();
        }
        finally
        {
            File.Delete(path);
        }

        new Action(() => SymbolTable.Load("/nonexistent")).Should().Throw<VmmException>().Where(e => e.Error.Id == "KVM0029");
    }

    /// <summary>An ELF64 file of nothing but a symbol table: functions at 0x1000 and 0x2000, an object between them.</summary>
    private static byte[] Elf()
    {
        byte[] names = [0, .. "first\0second\0data\0"u8];
        byte[] file = new byte[64 + (3 * 64) + (4 * 24) + names.Length];
        "\u007fELF"u8.CopyTo(file);
        (file[4], file[5]) = (2, 1);
        BinaryPrimitives.WriteUInt64LittleEndian(file.AsSpan(40), 64);
        BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(58), 64);
        BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(60), 3);
        Section(file.AsSpan(128), 2, 256, 4 * 24, 2);
        Section(file.AsSpan(192), 3, 256 + (4 * 24), (ulong)names.Length, 0);
        Symbol(file.AsSpan(280), 1, 2, 0x1000);
        Symbol(file.AsSpan(304), 7, 2, 0x2000);
        Symbol(file.AsSpan(328), 14, 1, 0x1800);
        names.CopyTo(file.AsSpan(256 + (4 * 24)));
        return file;
    }

    private static void Section(Span<byte> at, uint type, ulong offset, ulong size, uint link)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(at[4..], type);
        BinaryPrimitives.WriteUInt64LittleEndian(at[24..], offset);
        BinaryPrimitives.WriteUInt64LittleEndian(at[32..], size);
        BinaryPrimitives.WriteUInt32LittleEndian(at[40..], link);
    }

    private static void Symbol(Span<byte> at, uint name, byte type, ulong value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(at, name);
        at[4] = type;
        BinaryPrimitives.WriteUInt16LittleEndian(at[6..], 1);
        BinaryPrimitives.WriteUInt64LittleEndian(at[8..], value);
    }
}
