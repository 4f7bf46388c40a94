using System.Buffers.Binary;
using System.Text;
using Kvm.Interop.Compression;
using Kvm.TestSupport;

namespace Kvm.Vmm.Tests.Boot;

/// <summary>Makes bzImages: boot sector and setup header (boot.rst), protected-mode code, payload as Linux's build appends it.</summary>
internal sealed class BzImageBuilder
{
    private const int Stub = 64; // bytes of protected-mode code before the payload

    public ushort Version { get; set; } = 0x20f;

    public byte SetupSects { get; set; } = 1;

    public byte LoadFlags { get; set; } = 1;

    public ushort XLoadFlags { get; set; } = 1;

    public uint Code32Start { get; set; } = 0x10_0000;

    public uint InitrdMax { get; set; } = 0x7fff_ffff;

    public uint CommandLineMax { get; set; } = 2047;

    public ulong PreferredAddress { get; set; } = 0x20_0000;

    public uint InitSize { get; set; } = 0x20_0000;

    public string? KernelVersion { get; set; }

    /// <summary>The payload as it is in the file, its size field included.</summary>
    public byte[] Payload { get; set; } = [];

    public uint? PayloadOffset { get; set; }

    public uint? PayloadLength { get; set; }

    /// <summary>Compresses a kernel and appends its size, as scripts/Makefile.lib does (gzip has it already).</summary>
    public BzImageBuilder Pack(CompressionFormat format, byte[] kernel)
    {
        byte[] packed = TestCompressors.Compress(format, kernel);
        Payload = format == CompressionFormat.Gzip ? packed : [.. packed, .. BitConverter.GetBytes(kernel.Length)];
        return this;
    }

    public byte[] Build()
    {
        int protectedMode = ((SetupSects == 0 ? 4 : SetupSects) + 1) * 512;
        byte[] f = new byte[protectedMode + Stub + Payload.Length];
        f[0x1f1] = SetupSects;
        U32(f, 0x1f4, (uint)((f.Length - protectedMode) / 16));
        U16(f, 0x1fe, 0xaa55);
        f[0x200] = 0xeb;
        f[0x201] = 0x6a;
        Encoding.ASCII.GetBytes("HdrS").CopyTo(f, 0x202);
        U16(f, 0x206, Version);
        f[0x211] = LoadFlags;
        U32(f, 0x214, Code32Start);
        U32(f, 0x22c, InitrdMax);
        U32(f, 0x230, 0x20_0000);
        f[0x234] = 1;
        U16(f, 0x236, XLoadFlags);
        U32(f, 0x238, CommandLineMax);
        U32(f, 0x248, PayloadOffset ?? (Payload.Length == 0 ? 0u : Stub));
        U32(f, 0x24c, PayloadLength ?? (uint)Payload.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(f.AsSpan(0x258), PreferredAddress);
        U32(f, 0x260, InitSize);
        if (KernelVersion is not null)
        {
            U16(f, 0x20e, 0x100);
            Encoding.ASCII.GetBytes(KernelVersion).CopyTo(f, 0x300);
        }

        f.AsSpan(protectedMode, Stub).Fill(0xf4);
        Payload.CopyTo(f, protectedMode + Stub);
        return f;
    }

    private static void U16(byte[] f, int at, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(f.AsSpan(at), value);

    private static void U32(byte[] f, int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(f.AsSpan(at), value);
}
