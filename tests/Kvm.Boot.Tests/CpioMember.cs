using System.Globalization;
using System.Text;

namespace Kvm.Boot.Tests;

/// <summary>Takes one file out of an archive in the "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst).</summary>
internal static class CpioMember
{
    private const int HeaderSize = 110;

    public static byte[] Read(string archive, string name)
    {
        byte[] all = File.ReadAllBytes(archive);
        for (int at = 0; at + HeaderSize <= all.Length;)
        {
            int Field(int index) => int.Parse(Encoding.ASCII.GetString(all, at + 6 + index * 8, 8), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            int size = Field(6), nameSize = Field(11);
            string member = Encoding.UTF8.GetString(all, at + HeaderSize, nameSize - 1);
            int content = at + HeaderSize + nameSize + 3 & ~3;
            if (member == name)
                return all[content..(content + size)];
            at = content + size + 3 & ~3;
        }

        throw new InvalidDataException($"{archive} has no {name}");
    }
}
