namespace Kvm.X86.Tests.Native;

/// <summary>Random processor states with many special values: what arithmetic gets wrong sits at the edges.</summary>
internal sealed unsafe class StateGenerator(Random random)
{
    private static readonly ulong[] Doubles =
    [
        0, 0x8000000000000000, 0x3FF0000000000000, 0xBFF0000000000000, 0x7FF0000000000000, 0xFFF0000000000000, 0x7FF8000000000000,
        0xFFF8000000000001, 0x7FF0000000000001, 0xFFF7FFFFFFFFFFFF, 0x0000000000000001, 0x800FFFFFFFFFFFFF, 0x0010000000000000,
        0x7FEFFFFFFFFFFFFF, 0xFFEFFFFFFFFFFFFF, 0x41DFFFFFFFC00000, 0xC1E0000000000000, 0x41E0000000000000, 0x43E0000000000000,
        0xC3E0000000000000, 0x3FE0000000000000, 0x3FF8000000000000, 0x4330000000000001, 0x3FEFFFFFFFFFFFFF, 0x47EFFFFFE0000000,
        0x47EFFFFFF0000000, 0x3810000000000000, 0x36A0000000000000, 0x3690000000000001, 0x4008000000000000, 0x4024000000000000,
    ];

    private static readonly uint[] Singles =
    [
        0, 0x80000000, 0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00001, 0x7F800001, 0xFFBFFFFF, 0x00000001,
        0x807FFFFF, 0x00800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x4EFFFFFF, 0x4F000000, 0xCF000000, 0x5F000000, 0xDF000000, 0x3F000000,
        0x3FC00000, 0x4B000001, 0x3F7FFFFF, 0x40400000, 0x41200000, 0x33800000, 0x477FE000, 0x477FF000, 0x38800000, 0x33000001,
    ];

    private static readonly byte[] Edges = [0, 1, 2, 0x7E, 0x7F, 0x80, 0x81, 0xFE, 0xFF];

    public Random Random => random;

    /// <summary>Fills an input block for <see cref="NativeRunner"/>; <paramref name="pointer"/> is where its memory operand lies.</summary>
    public void Fill(byte* block, ulong pointer)
    {
        byte* area = block + NativeRunner.ExtendedIn;
        *(ushort*)area = (ushort)(0x37F & ~(random.Next(2) == 0 ? 0xF00 : 0) | (random.Next(4) << 10) | (random.Next(2) == 0 ? 0x300 : random.Next(4) << 8));
        *(ushort*)(area + 2) = (ushort)((random.Next(8) << 11) | (random.Next(2) * 0x4700) | random.Next(2) * 0x20);
        area[4] = random.Next(4) == 0 ? (byte)random.Next(256) : (byte)0xFF;
        for (int i = 0; i < 8; i++)
            Extended(area + 32 + (16 * i));
        *(uint*)(area + 24) = Mxcsr();
        for (int i = 0; i < 16; i++)
        {
            Vector(area + 160 + (16 * i));
            Vector(area + 576 + (16 * i));
        }
        *(ulong*)(area + 512) = 7;
        for (int i = 0; i < 16; i++)
            ((ulong*)(block + NativeRunner.GprIn))[i] = General();
        ((ulong*)(block + NativeRunner.GprIn))[3] = pointer;
        ((ulong*)(block + NativeRunner.GprIn))[7] = pointer;
        *(ulong*)(block + NativeRunner.FlagsIn) = 0x202u | ((uint)random.Next(1 << 12) & 0x8D5);
        for (int i = 0; i < 128; i += 16)
            Vector(block + NativeRunner.Memory + i);
    }

    /// <summary>A vector of one kind of elements, or of a mixture.</summary>
    public void Vector(byte* at)
    {
        int kind = random.Next(8);
        ulong same = General();
        for (int i = 0; i < 16; i += 8)
        {
            *(ulong*)(at + i) = kind switch
            {
                0 => (ulong)random.NextInt64(long.MinValue, long.MaxValue),
                1 => Bytes(),
                2 or 3 => Double(),
                4 or 5 => Single() | ((ulong)Single() << 32),
                6 => same,
                _ => General(),
            };
        }
    }

    /// <summary>Ten bytes of extended precision, in a slot of sixteen.</summary>
    public void Extended(byte* at)
    {
        *(ulong*)(at + 8) = 0;
        ulong significand = random.Next(4) switch
        {
            0 => 1UL << 63,
            1 => (ulong)random.NextInt64(long.MinValue, long.MaxValue) | (1UL << 63),
            2 => (1UL << 63) | Bytes(),
            _ => ~0UL << random.Next(64),
        };
        int exponent = random.Next(12) switch
        {
            0 => 0,
            1 => 0x7FFF,
            2 => 1,
            3 => 0x7FFE,
            4 => 0x3FFF + random.Next(-70, 70),
            5 => random.Next(0x8000),
            6 => 0x3FFF + random.Next(60, 66),
            _ => 0x3FFF + random.Next(-4, 4),
        };
        if (random.Next(10) == 0)
            significand = random.Next(4) switch { 0 => 0, 1 => 1, 2 => significand & ~(1UL << 63), _ => 0xC000000000000000 };
        *(ulong*)at = significand;
        *(ushort*)(at + 8) = (ushort)(exponent | (random.Next(2) << 15));
    }

    public ulong General() => random.Next(5) switch
    {
        0 => (ulong)random.Next(-20, 20),
        1 => Bytes(),
        2 => (ulong)random.Next(),
        3 => 1UL << random.Next(64),
        _ => (ulong)random.NextInt64(long.MinValue, long.MaxValue),
    };

    public ulong Double()
    {
        switch (random.Next(4))
        {
            case 0:
                return Doubles[random.Next(Doubles.Length)];
            case 1:
                return (ulong)BitConverter.DoubleToInt64Bits(random.Next(-1000, 1000) / 8.0);
            case 2:
                return ((ulong)random.NextInt64() & 0x800FFFFFFFFFFFFF) | ((ulong)random.Next(0x3F0, 0x410) << 52) | ((ulong)random.Next(2) << 63);
            default:
                return (ulong)random.NextInt64(long.MinValue, long.MaxValue);
        }
    }

    public uint Single()
    {
        switch (random.Next(4))
        {
            case 0:
                return Singles[random.Next(Singles.Length)];
            case 1:
                return BitConverter.SingleToUInt32Bits(random.Next(-1000, 1000) / 8.0f);
            case 2:
                return ((uint)random.Next() & 0x007FFFFF) | ((uint)random.Next(0x74, 0x8A) << 23) | ((uint)random.Next(2) << 31);
            default:
                return (uint)random.Next(int.MinValue, int.MaxValue);
        }
    }

    private ulong Bytes()
    {
        ulong value = 0;
        for (int i = 0; i < 8; i++)
            value = (value << 8) | Edges[random.Next(Edges.Length)];
        return value;
    }

    /// <summary>All exceptions masked: an unmasked one would end the test's process by a signal.</summary>
    private uint Mxcsr()
    {
        uint value = 0x1F80u | (uint)random.Next(64) * (uint)random.Next(2);
        if (random.Next(2) == 0)
            value |= (uint)random.Next(4) << 13;
        if (random.Next(4) == 0)
            value |= 0x40;
        if (random.Next(4) == 0)
            value |= 0x8000;
        return value;
    }
}
