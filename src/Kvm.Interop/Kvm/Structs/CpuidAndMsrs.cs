#pragma warning disable CS1591 // fields of <asm/kvm.h>, name for name

namespace Kvm.Interop;

/// <summary><c>struct kvm_cpuid_entry2</c>: one CPUID leaf. <see cref="Index"/> counts when <see cref="Flags"/> has <see cref="KvmConst.KVM_CPUID_FLAG_SIGNIFCANT_INDEX"/>.</summary>
public struct KvmCpuidEntry2
{
    public uint Function;
    public uint Index;
    public uint Flags;
    public uint Eax;
    public uint Ebx;
    public uint Ecx;
    public uint Edx;
    public U32x3 Padding;
}

/// <summary><c>struct kvm_msr_entry</c>: a model-specific register's number and value.</summary>
public struct KvmMsrEntry
{
    public uint Index;
    public uint Reserved;
    public ulong Data;

    /// <summary>An entry to set <paramref name="index"/> to <paramref name="data"/>, or to read it.</summary>
    public KvmMsrEntry(uint index, ulong data = 0)
    {
        Index = index;
        Data = data;
    }
}

/// <summary>The fixed part of <c>struct kvm_cpuid2</c>.</summary>
internal struct KvmCpuid2
{
    public uint Nent;
    public uint Padding;
}

/// <summary>The fixed part of <c>struct kvm_msrs</c>.</summary>
internal struct KvmMsrs
{
    public uint Nmsrs;
    public uint Pad;
}

/// <summary>The fixed part of <c>struct kvm_msr_list</c>.</summary>
internal struct KvmMsrList
{
    public uint Nmsrs;
}

/// <summary><c>struct kvm_msr_filter_range</c> as the kernel reads it.</summary>
internal unsafe struct KvmMsrFilterRangeNative
{
    public uint Flags;
    public uint Nmsrs;
    public uint Base;
    public byte* Bitmap;
}

/// <summary>Sixteen ranges laid out as a C array.</summary>
[System.Runtime.CompilerServices.InlineArray(16)]
internal struct KvmMsrFilterRanges
{
    private KvmMsrFilterRangeNative _e;
}

/// <summary><c>struct kvm_msr_filter</c> as the kernel reads it.</summary>
internal struct KvmMsrFilterNative
{
    public uint Flags;
    public KvmMsrFilterRanges Ranges;
}

/// <summary>One range of an MSR filter.</summary>
/// <param name="First">Number of the first register.</param>
/// <param name="Count">How many registers: 1 … 12,288 (KVM_MSR_FILTER_MAX_BITMAP_SIZE bytes of bits).</param>
/// <param name="Flags"><see cref="KvmConst.KVM_MSR_FILTER_READ"/> and/or <see cref="KvmConst.KVM_MSR_FILTER_WRITE"/>: the accesses the bitmap decides.</param>
/// <param name="Bitmap">One bit a register, least significant first: 1 allows, 0 denies. <c>null</c> denies all.</param>
public readonly record struct KvmMsrFilterRange(uint First, uint Count, uint Flags, ReadOnlyMemory<byte>? Bitmap = null);
