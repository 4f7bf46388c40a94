using System.Buffers.Binary;
using Kvm.Devices.Bus;
using Kvm.Devices.Pci;

namespace Kvm.Devices.Virtio.Transport;

/// <summary>
/// The legacy interface of a transitional virtio PCI function (virtio 1.2, 4.1.4.10): a window of I/O ports with a header, the MSI-X vectors where
/// MSI-X is on, and the device's configuration behind them. Selections and vectors are the modern registers' own. Safe from any thread.
/// </summary>
/// <param name="device">The device.</param>
/// <param name="registers">The modern registers.</param>
/// <param name="messages">Says whether MSI-X is on.</param>
/// <param name="interrupt">The ISR status.</param>
internal sealed class VirtioPciLegacy(VirtioDevice device, VirtioPciRegisters registers, MsixTable messages, InterruptStatus interrupt) : IBusDevice
{
    /// <summary>Bytes before the device's configuration: without the vectors, and with them.</summary>
    public const int HeaderSize = 20, HeaderSizeWithVectors = 24;

    private const int Offered = 0x00, Accepted = 0x04, QueuePage = 0x08, QueueSize = 0x0c, QueueSelect = 0x0e, QueueNotify = 0x10;
    private const int Status = 0x12, Isr = 0x13, ConfigVector = 0x14, QueueVector = 0x16;

    // Where the modern registers have the same.
    private const int ModernConfigVector = 0x10, ModernStatus = 0x14, ModernSelect = 0x16, ModernQueueVector = 0x1a;

    /// <summary>Bytes of the window for a device: a power of two.</summary>
    public static uint WindowSize(VirtioDevice device) => System.Numerics.BitOperations.RoundUpToPowerOf2((uint)(HeaderSizeWithVectors + device.ConfigSize));

    private int ConfigStart => messages.Enabled ? HeaderSizeWithVectors : HeaderSize;

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        data.Clear();
        int start = ConfigStart;
        if (offset >= (ulong)start)
            device.ReadConfig(offset - (ulong)start, data);
        else
            ReadHeader((int)offset, data[..Math.Min(data.Length, start - (int)offset)]);
    }

    /// <inheritdoc/>
    /// <remarks>Registers are written whole; any other access is lost.</remarks>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        int start = ConfigStart;
        if (offset >= (ulong)start)
            device.WriteConfig(offset - (ulong)start, data);
        else if (data.Length == 1 && offset == Status)
            WriteStatus(data[0]);
        else if (data.Length == 2)
            Write16((int)offset, data);
        else if (data.Length == 4)
            Write32((int)offset, BinaryPrimitives.ReadUInt32LittleEndian(data));
    }

    /// <summary>Any bytes of the header, whatever the width: all fields are made, and those asked for copied.</summary>
    private void ReadHeader(int offset, Span<byte> data)
    {
        Span<byte> all = stackalloc byte[HeaderSizeWithVectors];
        int queue = registers.SelectedQueue;
        BinaryPrimitives.WriteUInt32LittleEndian(all[Offered..], device.LegacyOffered);
        BinaryPrimitives.WriteUInt32LittleEndian(all[Accepted..], device.AcceptedWord(0));
        BinaryPrimitives.WriteUInt32LittleEndian(all[QueuePage..], device.LegacyQueuePage(queue));
        BinaryPrimitives.WriteUInt16LittleEndian(all[QueueSize..], (ushort)device.MaxQueueSize(queue));
        BinaryPrimitives.WriteUInt16LittleEndian(all[QueueSelect..], (ushort)queue);
        all[Status] = device.Status;
        // Reading it takes the reasons away.
        if (offset <= Isr && Isr - offset < data.Length)
            all[Isr] = interrupt.Take();
        registers.Read(ModernConfigVector, all.Slice(ConfigVector, 2));
        registers.Read(ModernQueueVector, all.Slice(QueueVector, 2));
        all.Slice(offset, data.Length).CopyTo(data);
    }

    private void Write16(int offset, ReadOnlySpan<byte> data)
    {
        switch (offset)
        {
            case QueueSelect:
                registers.Write(ModernSelect, data);
                break;
            case QueueNotify:
                device.NotifyLegacy(BinaryPrimitives.ReadUInt16LittleEndian(data));
                break;
            case ConfigVector:
                registers.Write(ModernConfigVector, data);
                break;
            case QueueVector:
                registers.Write(ModernQueueVector, data);
                break;
        }
    }

    private void Write32(int offset, uint value)
    {
        if (offset == Accepted)
            device.AcceptWord(0, value);
        else if (offset == QueuePage)
            device.SetLegacyQueue(registers.SelectedQueue, value);
    }

    private void WriteStatus(byte value)
    {
        // A reset is of the vectors and selections too.
        if (value == 0)
            registers.Write(ModernStatus, [0]);
        else
            device.WriteLegacyStatus(value);
    }
}
