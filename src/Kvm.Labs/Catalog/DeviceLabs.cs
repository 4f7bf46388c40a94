using System.Text;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Block;
using Kvm.Devices.Virtio.Transport;
using Kvm.Labs.Machine;
using Kvm.Vmm.Bare;

namespace Kvm.Labs.Catalog;

/// <summary>Labs 10 and 12: a virtqueue by hand, and kinds of virtualization compared.</summary>
internal static class DeviceLabs
{
    /// <summary>Where lab 10's disk is.</summary>
    public const ulong Disk = LabBoard.Registers + 0x1000;

    private const string Sector = "virtqueues move buffers, not bytes\n";
    private const string Whisper = "who knows the host asks it\n";
    private const ulong QueueNotify = Disk + 0x50;
    private const int MostText = 4096;

    public static ProgramLab Virtqueue { get; } = new(10, "virtqueue", "A virtqueue by hand")
    {
        Plans =
        [
            new(new LabSetup { Devices = AddDisk },
            [
                Checks.Prints(Sector),
                Checks.Count(BareExitKind.MmioWrite, QueueNotify, 1, "the queue was notified once"),
                Checks.Memory(0x10202, 2, 1, "the device put the chain into the used ring"),
                Checks.Memory(0x13000, 1, 0, "the request's status byte is 0: good"),
                Checks.Exits(),
            ]),
        ],
    };

    public static ProgramLab Virtualization { get; } = new(12, "virtualization", "Full and paravirtualization, completion and translation")
    {
        Plans =
        [
            new(new LabSetup { Devices = AddWhisper },
            [
                Checks.Prints(Whisper),
                new("at most three accesses came to the VMM", outcome => outcome.Exits.Count(exit => exit.Kind is BareExitKind.PortRead or BareExitKind.PortWrite) is var count && count <= 3
                    ? null
                    : $"{count} came"),
                Checks.Memory("ones", 8, 32, "popcnt counted 32 ones, whoever executed it"),
                Checks.Exits(),
            ]),
            new(new LabSetup { Translate = true, Devices = AddWhisper },
            [
                Checks.Prints(Whisper),
                new("the hot loop was translated to host code", outcome => outcome.Translations.Count > 0 ? null : "no block was translated; it has to run some hundred times"),
            ])
            { Engine = "soft", Purpose = "binary translation" },
        ],
    };

    private static void AddDisk(LabBoard board)
    {
        var sector = new byte[512];
        Encoding.ASCII.GetBytes(Sector, sector);
        var device = new BlockDevice("lab-disk", board.Memory, new SectorImage(sector), new BlockOptions { ReadOnly = true, QueueSize = 16 });
        device.Schedule(new InlineScheduler());
        board.Own(device);
        board.Mmio.Add(Disk, VirtioMmio.Size, new VirtioMmio(device, null));
    }

    private static void AddWhisper(LabBoard board) => board.Ports.Add(0x550, 4, new LabDevice(null, (_, _, address) =>
    {
        for (ulong at = address; at < address + MostText && board.Memory.TryRead(at, out byte character) && character != 0; at++)
            board.Print(character);
        board.Note($"hypercall: print the text at 0x{address:x}");
    }));
}
